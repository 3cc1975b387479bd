"""Undo what was started, latest first, also when the machine has nothing left to give.

A step that fails keeps no other step from running. Before the first one, what `Reserve` has kept
is given up, so that the steps find the descriptors and the memory that they need.
"""

from __future__ import annotations

import contextlib
import inspect
import mmap
import os
import resource
import shlex
from typing import TYPE_CHECKING, Final, Self

import structlog

from lvsd.errors import KernelError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

DESCRIPTORS: Final = 8
"""Netlink sockets, /proc/sys and the journal are opened one after the other: three at a time."""
TO_START: Final = 64
"""As many as a start and some clients of the control socket take. libuv aborts without any."""
MEMORY_BYTES: Final = 16 << 20
"""Address space only, as nobody writes to it: more than the undo of a thousand addresses takes."""

log = structlog.get_logger("lvsd")


class Reserve:
    """Descriptors and address space that are kept for the undo.

    Raise KernelError when there are not enough of them, those of a start included.

    Take it before anything else is opened: a limit that is lowered later (prlimit(1)) is about
    the numbers of descriptors, and these are to be the lowest ones.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._memory: mmap.mmap | None = None
        try:
            for _ in range(TO_START):
                self._descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            while len(self._descriptors) > DESCRIPTORS:
                os.close(self._descriptors.pop())
            self._memory = mmap.mmap(-1, MEMORY_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            self.release()
            remedy = "raise the limits of open files and of memory (`ulimit -n`, `ulimit -v`)"
            raise KernelError("keep a reserve for the end", error, remedy) from error

    def release(self) -> None:
        """Give everything up, and soft limits with it. Harmless when done twice. Never raises."""
        raise_limits()
        while self._descriptors:
            os.close(self._descriptors.pop())
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def raise_limits() -> None:
    """Give up soft limits of descriptors and memory. Never raises."""
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(limit)
            resource.setrlimit(limit, (hard, hard))


def remedy(control: Path) -> str:
    """Return what to do about what a stop left: the lvsd with this control socket."""
    return f"run `lvsd cleanup --control {shlex.quote(str(control))}`"


class Unwinding:
    """Runs steps when the ``async with`` block is left, latest first, every one of them.

    Raise KernelError when one failed, unless the block raised an error of its own. ``control`` is
    lvsd's control socket; ``reserve`` is None where there is nothing to give up.
    """

    def __init__(self, reserve: Reserve | None, control: Path) -> None:
        self._reserve = reserve
        self._control = control
        self._steps: list[tuple[str, Callable[[], Awaitable[None] | None]]] = []

    def then(self, what: str, step: Callable[[], Awaitable[None] | None]) -> None:
        """Have a step run before those that are there.

        ``what`` says what it does, such as "close the queue".
        """
        self._steps.append((what, step))

    def cancel(self, what: str, task: asyncio.Task[None]) -> None:
        """Have a task cancelled, likewise."""

        def step() -> None:
            task.cancel()

        self.then(what, step)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._reserve is not None:
            self._reserve.release()
        failed = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                done = step()
                if inspect.isawaitable(done):
                    await done
            except Exception as problem:  # noqa: BLE001 - the other steps matter more
                failed.append(what)
                with contextlib.suppress(Exception):
                    reason = str(problem) or type(problem).__name__
                    log.error("a step of the stop failed", step=what, error=reason)  # noqa: TRY400 - it says all
        if failed and error is None:
            raise KernelError(
                "stop lvsd", f"it could not {', '.join(failed)}", remedy(self._control)
            )
