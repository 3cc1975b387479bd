"""How an engine is scheduled: before what else runs on the machine, as packets in a kernel are."""

from __future__ import annotations

import contextlib
import os
from typing import Final

NICENESS: Final = -15
"""How much nicer than lvsd itself an engine is (sched(7)): real-time programs still come first."""


def go_first() -> None:
    """Have packets wait for no program of the usual priority, where this process may ask for it.

    That needs CAP_SYS_NICE, or a limit that allows it (RLIMIT_NICE, systemd's ``LimitNICE=``).
    Where less is allowed it has that; without either it is scheduled as all others are.
    """
    for niceness in range(NICENESS, 0):
        with contextlib.suppress(OSError):
            os.nice(niceness)
            return
