"""An engine: moves packets, and does what the supervisor at the other end of the wire says.

Its event loop has the queue, the senders, the core's timers and the wire, and nothing that takes
longer than a turn: what is long goes in slices, with turns of packets between. It ends when the
supervisor says so, or is gone.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import structlog
import uvloop

from lvsd.control.methods import Context
from lvsd.engine import obstacles
from lvsd.engine.diversions import Diversions
from lvsd.engine.garbage import look_at_the_young
from lvsd.engine.heartbeat import Heartbeat
from lvsd.engine.messages import (
    TO_ENGINE,
    Applied,
    Ask,
    Beat,
    Begin,
    Commands,
    Enough,
    Farewell,
    Here,
    Leads,
    LogLevel,
    Next,
    Opened,
    Question,
    Ready,
    Refused,
    Start,
    Started,
    Ways,
)
from lvsd.engine.questions import Questions
from lvsd.engine.settling import settle_few, settling
from lvsd.engine.slices import Slices
from lvsd.engine.state import RESTS, State
from lvsd.engine.traffic import Traffic
from lvsd.engine.wire import Wire
from lvsd.errors import ControlError, KernelError, PluginError, PrivilegeError, environment_error
from lvsd.log import set_level
from lvsd.running.complaints import Complaints
from lvsd.running.jobs import Job, Jobs
from lvsd.turns import Turns

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from lvsd.core.apply import Steps
    from lvsd.core.commands import Changes
    from lvsd.core.succession import SchedulerFactory
    from lvsd.core.values import Way
    from lvsd.errors import WireError

TICK_S: Final = 1.0

SETTLE_S: Final = 600.0
"""How often to work out what is to be diverted without a change: connections that removed servers
left may be over."""

TIMERS_ENDURE: Final = 60
"""Failures of the timers in a row, one a second, after which the engine ends: with no entry
expiring the table only grows, and a new engine has at least its memory."""

CANNOT_BEGIN: Final = "the engine ends, as it cannot begin"
"""Without a part of what it is told it would never take a packet; the next one may get on."""

UNSETTLED: Final = "cannot work out what follows from a change"

log = structlog.get_logger("lvsd")


def run(end: socket.socket, make_scheduler: SchedulerFactory) -> int:
    """Be an engine until the wire at ``end`` ends; return the exit status of the process."""
    look_at_the_young()
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


class Work:
    """What an engine has once it is told to begin. ``end`` is called with the exit status."""

    def __init__(
        self,
        begin: Begin,
        make_scheduler: SchedulerFactory,
        wire: Wire,
        complaints: Complaints,
        end: Callable[[int], None],
    ) -> None:
        self._wire = wire
        self._complaints = complaints
        self._end = end
        self._traffic = Traffic(begin, make_scheduler, complaints.of_packets, self._ask)
        self._balancer = self._traffic.balancer
        self._turns = Turns(lambda: self._traffic.source.received)
        self._diversions = Diversions(self._balancer.services, wire.send)
        self._ways: dict[bytes, Way] = {}
        self._settling = Slices(self._settle, self._turns, complaints, UNSETTLED)
        what = "cannot look for obstacles"
        self._looking = Slices(self._look_around, self._turns, complaints, what, rests=RESTS)
        self._state = State(begin.state, self._balancer, self._turns, complaints)
        context = Context(self._balancer, begin.started, self._traffic.counters)
        self._questions = Questions(context, self._turns, wire.send)
        self._heartbeat = Heartbeat(self._traffic.source, self._beat)
        self._beat_s = begin.beat_s
        self._jobs = Jobs(self._all_jobs(), complaints, time.monotonic)
        self._steps: Steps | None = None
        self._finished: list[Steps] = []
        self._is_changed = True
        self._latest = 0  # the number of the list of commands that was done last
        self._refused: int | None = None
        self._is_to_start = self._is_to_look = self._is_ready = False
        self.is_started = False
        """Whether packets are taken."""
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Take the queue and open the sockets. Raise KernelError, OSError or MemoryError."""
        self._traffic.open()
        self._state.open()
        self._run(self._beat_at_first())

    def close(self) -> None:
        """Close everything at once."""
        for task in self._tasks:
            task.cancel()
        self._settling.stop()
        self._looking.stop()
        self._traffic.close()
        self._state.close()

    def do(self, message: object) -> None:
        """Do what the supervisor says, all but `Commands`."""
        match message:
            case Here(link_mtus, addresses):
                self._balancer.network.link_mtus = dict(link_mtus)
                self._balancer.network.local_addresses = addresses
                self._traffic.packets.refresh()
                self._settle_soon()
            case Ways(ways, is_ahead):
                self._ways.update(ways)
                if not is_ahead:
                    self._settle_soon()
            case Leads(leads):
                self._traffic.frames.leads(leads)
            case Start():
                self._is_to_start = True
                self._settle_soon()
            case Ready():
                self._is_ready = self._is_to_look = True
                self._settle_soon()
            case Question() | Next() | Enough():
                self._questions.take(message)
            case Farewell(keep):
                self._run(self._leave(keep=keep))

    # --- changes --------------------------------------------------------------------------------

    def applying(self, part: Commands) -> Iterator[None]:
        """Do a part of a list of commands; a list that was refused is skipped to its end.

        Step by step, as one command may concern ten thousand real servers.
        """
        if self._refused != part.number:
            try:
                self._steps = self._steps or self._balancer.changing()
                for command in part.commands:
                    yield from self._steps.doing(command)
                    yield
            except (ControlError, PluginError) as error:
                self._steps, self._refused = None, part.number
                refusal = str(error)
                self._wire.send(Applied(part.number, refusal, isinstance(error, PluginError)))
        if not part.is_last:
            return
        if self._refused == part.number:
            self._refused = None
        elif self._steps is not None:
            changes = yield from self._steps.finishing(time.monotonic())
            self._finished.append(self._steps)
            self._steps, self._latest = None, part.number
            self._state.changed(changes)
            self._wire.send(Applied(part.number))
            yield from self._follow_at_once(changes)

    def _follow_at_once(self, changes: Changes) -> Iterator[None]:
        """Do what follows from a few changes at once, unless all has to be looked at for that."""
        is_all = None
        if self.is_started:
            is_all = settle_few(self._balancer, self._ways, self._diversions, self._latest, changes)
        if is_all is None:
            self._resettle()
        else:
            self._is_changed |= not is_all  # what is left can wait for the next look around
            yield from self._finished.pop().dismantling()

    def _resettle(self) -> None:
        """Work out what follows where services or servers are others than before."""
        self._is_changed = True
        self._settle_soon()

    def _settle_soon(self) -> None:
        """Work out what follows from a change, once all is known that there is at the start.

        Of a part of the configuration it would follow that packets to the rest are not diverted,
        and this host's own TCP would answer clients of the engine before with a RST.
        """
        if self.is_started or self._is_to_start:
            self._settling.soon()

    def _settle(self) -> Iterator[None]:
        try:
            yield from self._follow()
        except Exception:
            self._is_changed = True  # whatever was is still to follow
            if not self.is_started:
                self._end(os.EX_SOFTWARE)
            raise

    def _follow(self) -> Iterator[None]:
        """Do what follows from changes, a step at a time."""
        while self._finished:
            yield from self._finished.pop().dismantling()
        is_changed, self._is_changed, latest = self._is_changed, False, self._latest
        if (yield from settling(self._balancer, self._ways, is_changed=is_changed)):
            yield from self._diversions.telling(latest)
        if self._is_to_start:
            self._is_to_start = False
            yield from self._state.resuming()
            self._start()
            self._wire.send(Started())
        if self._is_to_look:
            self._is_to_look = False
            yield from self._look_around()

    async def _beat_at_first(self) -> None:
        """Give beats until packets are taken: a long configuration keeps nobody from turning."""
        while not self.is_started:
            self._beat()
            await asyncio.sleep(self._beat_s)

    def _start(self) -> None:
        self.is_started = True
        self._traffic.start(asyncio.get_running_loop())
        self._run(self._run_timers())
        self._run(self._jobs.run(self._beat_s))

    # --- what has its time ----------------------------------------------------------------------

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """End the engine where a task has ended by an error, which is told here."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._complaints.fault("the engine ends, as it cannot go on", error)
            self._end(os.EX_SOFTWARE)

    async def _run_timers(self) -> NoReturn:
        """Run the core's timers once a second, in turns with packets where there is much to do."""
        what = "the timers of connections failed"
        timers = Job(what, self._tick, endures=TIMERS_ENDURE)
        more: object = False
        while True:
            await asyncio.sleep(0 if more else TICK_S)
            more = self._jobs.attempt(timers)

    def _tick(self, now: float) -> bool:
        """Run the core's timers, and tell what they brought about; return whether there is more."""
        more = self._traffic.tick(now)
        for each in self._balancer.transitions.drains.told():
            self._wire.send(each)
        return more

    def _ask(self, addresses: Iterable[bytes]) -> None:
        self._wire.send(Ask(tuple(addresses)))

    def _beat(self) -> None:
        self._wire.send(Beat(self._balancer.flows.table.count))

    def _all_jobs(self) -> Iterator[Job]:
        """Yield what is done once a second or less often, the most important first."""
        heart, traffic = self._heartbeat, self._traffic
        yield Job("cannot read the statistics of the queue", heart.look, 0.0, heart.beat)
        yield Job("cannot report packets that the queue lost", traffic.pressure.tick)
        yield Job("cannot ask neighbours", traffic.frames.tick)
        yield Job("cannot look for obstacles", lambda _: self._look())
        yield self._state.job
        settle = Job(UNSETTLED, lambda _: self._resettle(), SETTLE_S)
        settle.due = time.monotonic() + SETTLE_S
        yield settle

    def _look(self) -> None:
        if self._is_changed:
            self._settle_soon()
        if self._is_ready and not self._settling.busy:  # else half of it is known
            self._looking.soon()

    def _look_around(self) -> Iterator[None]:
        return obstacles.looking(self._balancer, self._traffic.frames.problems, self._complaints)

    # --- the end --------------------------------------------------------------------------------

    async def _leave(self, *, keep: bool) -> None:
        """End in order."""
        try:
            await self._traffic.stop(kept=keep and self._state.finish())
        finally:
            with suppress(Exception):
                self.close()
            self._end(os.EX_OK)
