"""What an engine does: packets, changes, timers and the state that outlives it, on one loop.

The loop has the queue, the senders, the core's timers and the wire, and nothing that takes longer
than a turn: what is long goes in slices, with turns of packets between.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from lvsd.control.methods import Context
from lvsd.engine import obstacles
from lvsd.engine.diversions import Diversions
from lvsd.engine.heartbeat import Heartbeat
from lvsd.engine.messages import (
    Applied,
    Ask,
    Beat,
    Enough,
    Farewell,
    GoOn,
    Here,
    Leads,
    Next,
    Question,
    Ready,
    Settle,
    Start,
    Started,
    Ways,
    portions,
)
from lvsd.engine.questions import Questions
from lvsd.engine.settling import settling, settling_few
from lvsd.engine.slices import Slices
from lvsd.engine.state import RESTS, State
from lvsd.engine.traffic import Traffic
from lvsd.errors import ControlError, PluginError
from lvsd.running.jobs import Job, Jobs
from lvsd.turns import SLICE_S, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from lvsd.core.apply import Steps
    from lvsd.core.commands import Changes
    from lvsd.core.succession import SchedulerFactory
    from lvsd.core.values import Way
    from lvsd.engine.messages import Begin, Commands
    from lvsd.engine.wire import Wire
    from lvsd.running.complaints import Complaints

TICK_S: Final = 1.0

COMMANDS_S: Final = 0.00005
"""How long commands are done at a time while packets come: these wait for that, in seconds.

Shorter than other slices (`lvsd.turns`): the next one follows after one turn of packets.
"""

SETTLE_S: Final = 600.0
"""How often to work out what is to be diverted without a change: connections that removed servers
left may be over."""

TIMERS_ENDURE: Final = 60
"""Failures of the timers in a row, one a second, after which the engine ends: with no entry
expiring the table only grows, and a new engine has at least its memory."""

UNSETTLED: Final = "cannot work out what follows from a change"


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
        self._is_changed = self._is_news = True
        self._rested_at = 0.0
        """When, on the monotonic clock, it is time for another look at everything that can wait."""
        self._latest = 0  # the number of the list of commands that was done last
        self._refused: int | None = None
        self._is_to_settle = self._is_to_start = self._is_to_look = self._is_ready = False
        self.is_started = False
        """Whether packets are taken."""
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Take the queue and open the sockets. Raise KernelError, OSError or MemoryError."""
        self._traffic.open()
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
                self._is_news = True
                self._settle_soon()
            case Ways(ways, is_ahead):
                self._ways.update(ways)
                self._is_news = True
                if not is_ahead:
                    self._settle_soon()
            case Leads(leads):
                self._traffic.frames.leads(leads)
            case Settle():
                self._is_to_settle = True
                self._settle_soon()
            case Start():
                self._is_to_settle = self._is_to_start = True
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
            about = self._balancer, self._ways, self._diversions, self._latest, changes
            is_all = yield from settling_few(*about)
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
        if self._is_to_settle:
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
        began = time.monotonic()
        while self._finished:
            yield from self._finished.pop().dismantling()
        is_changed, self._is_changed, latest = self._is_changed, False, self._latest
        is_news, self._is_news = self._is_news or is_changed, False
        if is_news and (yield from settling(self._balancer, self._ways, is_changed=is_changed)):
            yield from self._diversions.telling(latest)
        now = time.monotonic()
        self._rested_at = now + RESTS * (now - began)
        if self._is_to_start:
            self._is_to_start = False
            self._state.open()
            yield from self._state.resuming()
            self._start()
            self._beat()  # the supervisor knows how many connections go on
            for drains in portions(self._state.drains):
                self._wire.send(GoOn(drains))
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
        self._wire.slice_s = self._slice_s
        self._traffic.start(asyncio.get_running_loop())
        self._run(self._run_timers())
        self._run(self._jobs.run(self._beat_s))

    def _slice_s(self) -> float:
        """Return how long to do what the supervisor says, at a time."""
        return COMMANDS_S if self._turns.is_beside(time.perf_counter()) else SLICE_S

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
        connections = self._balancer.flows.table.count
        self._wire.send(Beat(connections, self._state.unkept(connections)))

    def _all_jobs(self) -> Iterator[Job]:
        """Yield what is done once a second or less often, the most important first."""
        heart, traffic = self._heartbeat, self._traffic
        yield Job("cannot read the statistics of the queue", heart.look, 0.0, heart.beat)
        yield Job("cannot report packets that the queue lost", traffic.pressure.tick)
        yield Job("cannot ask neighbours", traffic.frames.tick)
        yield Job("cannot look for obstacles", self._look)
        yield self._state.job
        settle = Job(UNSETTLED, lambda _: self._resettle(), SETTLE_S)
        settle.due = time.monotonic() + SETTLE_S
        yield settle

    def _look(self, now: float) -> None:
        if self._is_changed and now >= self._rested_at:
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
