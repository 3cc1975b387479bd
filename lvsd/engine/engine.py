"""An engine: moves packets, and does what the supervisor at the other end of the wire says.

What it has to do is in `lvsd.engine.work`. It ends when the supervisor says so, or is gone.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from lvsd.engine.garbage import look_at_the_young
from lvsd.engine.messages import (
    TO_ENGINE,
    Begin,
    Commands,
    Farewell,
    LogLevel,
    Opened,
    Refused,
)
from lvsd.engine.priority import go_first
from lvsd.engine.wire import Wire
from lvsd.engine.work import Work
from lvsd.errors import KernelError, PrivilegeError, environment_error
from lvsd.log import set_level
from lvsd.running.complaints import Complaints

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from lvsd.core.succession import SchedulerFactory
    from lvsd.errors import WireError

CANNOT_BEGIN: Final = "the engine ends, as it cannot begin"
"""Without a part of what it is told it would never take a packet; the next one may get on."""

log = structlog.get_logger("lvsd")


def run(end: socket.socket, make_scheduler: SchedulerFactory) -> int:
    """Be an engine until the wire at ``end`` ends; return the exit status of the process."""
    look_at_the_young()
    go_first()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Engine(end, make_scheduler).serve())


class Engine:
    """One engine at its end of the wire; ``make_scheduler`` makes the schedulers of services."""

    def __init__(self, end: socket.socket, make_scheduler: SchedulerFactory) -> None:
        self._make_scheduler = make_scheduler
        self._wire = Wire(end, TO_ENGINE, self._receive, self._wire_ended)
        self._complaints = Complaints(time.monotonic)
        self._over: asyncio.Future[int]
        self._work: Work | None = None

    async def serve(self) -> int:
        """Do what comes over the wire until it ends; return the exit status."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complaints.of_loop)
        self._over = loop.create_future()
        self._wire.start(loop)
        try:
            return await self._over
        finally:
            if self._work is not None:
                self._work.close()
            self._wire.close()

    def _receive(self, message: object) -> Iterator[None]:
        try:
            yield from self._take(message) or ()
        except Exception as error:
            if self._work is not None and self._work.is_started:
                raise
            self._complaints.fault(CANNOT_BEGIN, error)
            self._end(os.EX_SOFTWARE)

    def _take(self, message: object) -> Iterator[None] | None:
        if isinstance(message, LogLevel):
            set_level(message.level)
        elif isinstance(message, Begin):
            self._begin(message)
        elif isinstance(message, Commands) and self._work is not None:
            return self._work.applying(message)
        elif self._work is not None:
            self._work.do(message)
        elif isinstance(message, Farewell):
            self._end(os.EX_OK)
        return None

    def _begin(self, begin: Begin) -> None:
        if begin.log_level:
            set_level(begin.log_level)
        work = Work(begin, self._make_scheduler, self._wire, self._complaints, self._end)
        try:
            work.open()
        except (OSError, MemoryError) as error:
            self._refuse(environment_error("start an engine", error))
        except KernelError as error:
            self._refuse(error)
        else:
            self._work = work
            self._wire.send(Opened())

    def _refuse(self, error: KernelError) -> None:
        self._wire.send(
            Refused(error.operation, error.reason, error.remedy, isinstance(error, PrivilegeError))
        )

    def _end(self, status: int) -> None:
        if not self._over.done():
            self._over.set_result(status)

    def _wire_ended(self, error: WireError | None) -> None:
        if error is not None:
            log.error("the engine does not understand the supervisor, and ends", error=str(error))
        self._end(os.EX_OK if error is None else os.EX_SOFTWARE)
