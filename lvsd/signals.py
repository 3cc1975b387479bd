"""Signals and clean-up: what would end the process is an exception, or waits its turn."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType, TracebackType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The signals that would end Python without any ``finally``."""


_LOOK_S = 0.01


class Terminated(KeyboardInterrupt):
    """A signal that ends came in; unwinds the stack as Ctrl-C does."""

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


class StoppedError(Exception):
    """Somebody has asked the process to end, and its work stops between two steps."""


class StopRequest:
    """Notes SIGTERM and Ctrl-C inside the ``with`` block, for work that must not break off midway.

    The work asks by `check` where it can stop; what may break off anywhere is done in `at_once`.
    A second block inside it may handle the signals otherwise, as the event loop does. SIGHUP, by
    which programs are told to read their configuration again, changes nothing meanwhile.
    """

    def __init__(self) -> None:
        self.is_made = False
        """Whether one of the signals has come in."""
        self._at_once = False
        self._number = 0
        self._stack = contextlib.ExitStack()

    def release(self) -> None:
        """Let signals do again what they did before the block, one that has come in meanwhile, too.

        For a program that turns out to do nothing that must not break off.
        """
        self._stack.close()
        if self.is_made:
            signal.raise_signal(self._number)

    def check(self) -> None:
        """Raise StoppedError once a signal has come in."""
        if self.is_made:
            raise StoppedError

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal break the block off wherever it is, by `Terminated`; one before it, too.

        For work that leaves nothing behind, and may wait for something that never comes. What the
        block raises once a signal has come in is that signal's doing.
        """
        self._at_once = True
        try:
            self.check()
            yield
        except Exception as error:
            if self.is_made:
                raise Terminated(self._number) from error
            raise
        finally:
            self._at_once = False

    async def comes(self, within_s: float) -> bool:
        """Wait for a signal that may be on its way; return whether it came."""
        import asyncio  # noqa: PLC0415 - it takes longer to load than the rest of a small program

        latest = time.monotonic() + within_s
        while not self.is_made and time.monotonic() < latest:  # noqa: ASYNC110 - set by a signal
            await asyncio.sleep(_LOOK_S)
        return self.is_made

    def __enter__(self) -> Self:
        self._stack.enter_context(_handling([signal.SIGHUP], lambda *_: None))
        self._stack.enter_context(_handling([signal.SIGINT, signal.SIGTERM], self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.is_made, self._number = True, number
        if self._at_once:
            raise Terminated(number)


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
