"""Waiting for a condition, bounded in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.005


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Return True as soon as ``condition`` holds, False when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
