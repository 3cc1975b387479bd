"""Wait for the engine of an lvsd that was killed: one that hangs does not see that it is alone.

The process that forked it kills it then, `lvsd.supervisor.forker.PATIENCE_S` after the supervisor.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.io.queue_statistics import is_orphans, queues
from lvsd.supervisor.forker import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

ORPHAN_S: Final = PATIENCE_S + 1.0
"""How long to wait for an orphan to end, in seconds."""

_LOOK_S: Final = 0.05


def outlive(say: Callable[[int], None], check: Callable[[], None] = lambda: None) -> None:
    """Wait until no queue of this network namespace is an orphan's; ``say`` is told of one first.

    It gets the number of the process. ``check`` is called now and then, and may raise what ends the
    wait. Raise KernelError when an orphan does not end in time.
    """
    latest = time.monotonic() + ORPHAN_S
    told = None
    while (orphan := _orphan()) is not None:
        if time.monotonic() >= latest:
            raise KernelError(
                "clear up after an lvsd that was killed",
                f"its engine does not end, pid {orphan}",
                f"end it by `kill -9 {orphan}`",
            )
        if orphan != told:
            say(orphan)
            told = orphan
        check()
        time.sleep(_LOOK_S)


def _orphan() -> int | None:
    """Return an engine without a supervisor that reads a queue here; None without one."""
    try:
        readers = [each.port for each in queues()]
    except KernelError:  # no queues at all, as who takes one is about to find out
        return None
    return next((port for port in readers if is_orphans(port)), None)
