"""Signals and clean-up: what would end the process is an exception, or waits its turn."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The signals that would end Python without any ``finally``."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came in; unwinds the stack as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Let `ENDING` raise `Terminated` inside the block, so that clean-up runs.

    Blocks may overlap in any order: the last to end puts back what was there. A handler that
    somebody else set stays. Outside the main thread this does nothing: Python allows signal
    handlers there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    block = object()
    _blocks.add(block)
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        _blocks.remove(block)
        for number in ENDING:
            if not _blocks and signal.getsignal(number) == _raise:
                signal.signal(number, signal.SIG_DFL)


_blocks: set[object] = set()
"""The `unwinding` blocks that last."""


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold back Ctrl-C and `ENDING` inside the block; they arrive at its end."""
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    with _handling([signal.SIGINT, *ENDING], remember):
        yield
    for number in dict.fromkeys(arrived):
        signal.raise_signal(number)


@contextlib.contextmanager
def _handling(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)
