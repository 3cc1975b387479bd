"""Waiting for a condition, bounded in time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.005

PATIENCE = float(os.environ.get("LVSD_TEST_PATIENCE", "1"))
"""How many times longer than on a usual machine to wait for what must come."""


def until(
    condition: Callable[[], bool], timeout_s: float = 10.0 * PATIENCE, *, every_s: float = POLL_S
) -> bool:
    """Return True as soon as ``condition`` holds, False when it does not within the time.

    ``every_s``: how long to wait between two looks; longer where a look takes a program.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
