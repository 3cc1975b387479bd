"""What is said to engines, and what they answer: the one place that knows the order of it.

An engine that comes in place of another is told everything anew.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import structlog

from lvsd.core.drains import Emptied
from lvsd.engine.diversions import Gathered
from lvsd.engine.messages import (
    TO_SUPERVISOR,
    TOGETHER_BESIDE,
    Answer,
    Applied,
    Ask,
    Beat,
    Divert,
    Farewell,
    GoOn,
    Here,
    Leads,
    LogLevel,
    Opened,
    Ready,
    Refused,
    Settle,
    Settled,
    Start,
    Started,
    Ways,
    parts,
    portions,
)
from lvsd.errors import BusyError, ControlError, LostError, PluginError
from lvsd.supervisor.engines import Engines, silent_s
from lvsd.supervisor.gate import Gate
from lvsd.supervisor.host import NOTHING, difference
from lvsd.supervisor.questions import GONE, Questions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from lvsd.core.commands import Command
    from lvsd.core.values import Way
    from lvsd.core.wanted import Wanted
    from lvsd.io.leads import Lead
    from lvsd.io.ruleset import Diverted
    from lvsd.supervisor.engines import Engine
    from lvsd.supervisor.forker import Forker
    from lvsd.supervisor.host import Host
    from lvsd.supervisor.owner import Owner

LOOK_S: Final = 1.0
"""How often to look for that while a start waits for an engine."""

BEAT_S: Final = 3.0
"""How long to wait for a beat; one comes each second while packets are taken."""

SETTLES_S: Final = 10.0
"""How long a change waits at most for what follows from it: for packets to be diverted."""

log = structlog.get_logger("lvsd")


class Conversation:
    """Talks with the engine that is at work, for its owner.

    ``watchdog_s`` is after what silence systemd's watchdog ends lvsd, None if it does not.
    """

    def __init__(self, forker: Forker, owner: Owner, watchdog_s: float | None = None) -> None:
        self._owner = owner
        silence_s = silent_s(watchdog_s)
        self._engines = Engines(
            forker, TO_SUPERVISOR, self._tell_all, self._hear, self._lose, silent_s=silence_s
        )
        self._numbers = count(1)
        self._wanted: Wanted | None = None
        self._host = NOTHING
        self._leads: dict[bytes, Lead] = {}
        self._gathered = Gathered()
        self.gate = Gate(GONE)
        """Open while an engine takes packets, with all that the one before knew."""
        self._questions = Questions(self._engines, self.gate, owner.counters)
        self._lists: dict[int, tuple[Sequence[Command], asyncio.Future[None]]] = {}
        self._settling: dict[int, asyncio.Future[None]] = {}
        self._opened: asyncio.Future[None]
        self._first_settled: asyncio.Future[None]
        self._started: asyncio.Future[None]
        self._is_to_settle = self._is_to_start = self._is_ready = False
        self.connections = 0
        """How many there were when the engine last said so."""
        self.unkept = 0
        """How many of them an engine that comes next may not find."""
        self._beat: asyncio.Future[None]

    @property
    def diverted(self) -> Diverted:
        """All that has to be diverted, as far as the engine has told."""
        return self._gathered.diverted

    def ask(self, line: bytes) -> AsyncGenerator[bytes]:
        """Return the lines that answer a client's, as the engine gives them."""
        return self._questions.ask(line)

    async def heard(self) -> None:
        """Wait for the engine's next beat, and with that for what is true now; not for ever."""
        self._beat = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._beat

    @property
    def working(self) -> Engine:
        """The engine at work. Raise BusyError while there is none."""
        if self._engines.working is None:
            raise BusyError(GONE)
        return self._engines.working

    def counters(self) -> dict[str, int]:
        """Return what is counted of engines."""
        return self._engines.counters()

    # --- start and end --------------------------------------------------------------------------

    async def open(self) -> None:
        """Start an engine, and wait until it has the queue.

        Raise KernelError, EngineError, or what the owner's ``check`` does.
        """
        loop = asyncio.get_running_loop()
        self._beat = loop.create_future()
        self._opened, self._started = loop.create_future(), loop.create_future()
        self._first_settled = loop.create_future()
        await self._engines.start()
        await self._unless_given_up(self._opened)

    def configure(self, wanted: Wanted, commands: Iterable[Command]) -> None:
        """Tell it what it is to have, and each engine after it what is wanted by then.

        Nothing is yet: the commands are folded in on their way.
        """
        self._wanted = wanted
        for message in parts(0, wanted.beginning(commands)):
            self._engines.send(message)

    async def settled(self) -> None:
        """Wait until what has to be diverted is known, while it takes no packets yet.

        Raise what `started` does.
        """
        self._is_to_settle = True
        self._engines.send(Settle())
        while not self._first_settled.done():  # one that ends just then has told it for nothing
            await self._unless_given_up(self._first_settled, self._started)

    def start(self) -> None:
        """Have it take packets, with what was `learned`, as soon as it has worked that out."""
        self._is_to_start = True
        self._engines.send(Start())

    async def started(self) -> None:
        """Wait until it takes packets. It is known by then what has to be diverted.

        Raise ControlError or PluginError where what is wanted cannot be, EngineError, or what the
        owner's ``check`` does.
        """
        await self._unless_given_up(self._started)

    def ready(self) -> None:
        """Say that all is up."""
        self._is_ready = True
        self._engines.send(Ready())

    async def ended(self) -> None:
        """Wait until no engine stays alive; raise EngineError then."""
        await self._engines.given_up()

    async def stop(self, *, keep: bool = False) -> None:
        """End the engine in order. Harmless when done twice, or before `open`.

        With ``keep`` its connections are to go on with the next lvsd.
        """
        await self._engines.stop(Farewell(keep))

    def look(self, now: float) -> None:
        """Kill an engine that is silent; ``now`` is on the monotonic clock, in seconds."""
        self._engines.look(now)

    async def _unless_given_up(self, *what: asyncio.Future[None]) -> None:
        """Wait for one of them."""
        given_up = asyncio.create_task(self._engines.given_up())
        try:
            every: list[asyncio.Future[Any]] = [*what, given_up]
            while not any(each.done() for each in every):
                await asyncio.wait(every, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                self._owner.check()
                self.look(time.monotonic())
            if not any(each.done() for each in what):
                given_up.result()
            for each in what:
                if each.done():
                    each.result()
        finally:
            given_up.cancel()

    # --- what it is told ------------------------------------------------------------------------

    def learned(self, host: Host) -> None:
        """Tell of this host, and of the ways to real servers: what is new in it."""
        news = difference(self._host, host)
        self._host = host
        if news is not None:
            for message in _of_host(news):
                self._engines.send(message)

    def learned_also(self, ways: Mapping[bytes, Way]) -> None:
        """Tell of the ways to some real servers, of which nothing was known."""
        self._host = self._host._replace(ways={**self._host.ways, **ways})
        for some in portions(ways.items()):
            self._engines.send(Ways(dict(some), is_ahead=True))

    def known(self) -> AbstractSet[bytes]:
        """Return the packed addresses of real servers that the way to was told."""
        return self._host.ways.keys()

    def lead(self, leads: Mapping[bytes, Lead | None]) -> None:
        """Tell of neighbours: those that are new or changed, None for those that are gone."""
        for address, lead in leads.items():
            if lead is None:
                self._leads.pop(address, None)
            else:
                self._leads[address] = lead
        for some in portions(leads.items()):
            self._engines.send(Leads(dict(some)))

    def log_level(self, level: str) -> None:
        """Have it log from this level on; the next one is told by its `Begin`."""
        self._engines.send(LogLevel(level))

    async def apply(self, wanted: Sequence[Command], *, until_met: bool = True) -> None:
        """Have a list of commands done: all of them, or none.

        They wait for the `gate`. Returns when packets meet all that follows, too, unless not
        ``until_met``. Raise ControlError or PluginError where one cannot be, BusyError where no
        engine comes to take packets, and LostError when it ends meanwhile: then the next one does
        not have them.
        """
        await self.gate.passed()
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._lists[number] = wanted, done
        settled = self._settling[number] = loop.create_future()
        try:
            for message in parts(number, wanted, TOGETHER_BESIDE):
                self._engines.send(message)
            await done
            async with asyncio.timeout(SETTLES_S):
                await (settled if until_met else done)
        except TimeoutError:
            log.warning("a change is done, but what follows from it takes long", seconds=SETTLES_S)
        finally:
            self._settling.pop(number, None)

    def _tell_all(self, engine: Engine) -> None:
        """Tell an engine that is new all that there is to say."""
        engine.send(self._owner.begin())
        for message in _of_host(self._host):
            engine.send(message)
        for some in portions(self._leads.items()):
            engine.send(Leads(dict(some)))
        if self._wanted is not None:
            for part in parts(0, self._wanted.commands()):
                engine.send(part)
        if self._is_to_settle:
            engine.send(Settle())
        if self._is_to_start:
            engine.send(Start())
        if self._is_ready:
            engine.send(Ready())

    # --- what it says ---------------------------------------------------------------------------

    def _hear(self, message: object) -> None:
        match message:
            case Answer():
                self._questions.answered(message)
            case Applied():
                self._applied(message)
            case Ask() | Beat() | Emptied() | GoOn():
                self._note(message)
            case Divert():
                self._gathered.take(message)
            case Opened():
                _done(self._opened)
            case Refused():
                self._refused(message)
            case Settled(number, left):
                self._settled(number, left)
            case Started():
                self._say_started()

    def _note(self, message: Ask | Beat | Emptied | GoOn) -> None:
        match message:
            case Ask(addresses):
                self._owner.ask(addresses)
            case Beat(connections, unkept):
                self.connections, self.unkept = connections, unkept
                _done(self._beat)
                self._owner.beat()
            case Emptied():
                self._owner.emptied(message)
            case GoOn(drains):
                if self._wanted is not None:
                    self._wanted.do(drains)

    def _settled(self, number: int, left: frozenset[bytes] | None) -> None:
        self._owner.divert(self._gathered.news())
        if left is not None:
            self._owner.left(left)
        _done(self._first_settled)
        for each, settled in self._settling.items():
            if each <= number:
                _done(settled)

    def _say_started(self) -> None:
        if self._engines.replaced:
            log.warning("another engine is at work", replaced=self._engines.replaced)
        _done(self._started)
        self.gate.open()

    def _applied(self, applied: Applied) -> None:
        wanted, done = self._lists.pop(applied.number, ((), None))
        try:
            applied.check()
        except (ControlError, PluginError) as error:
            if done is not None:
                done.set_exception(error)
            elif not self._started.done():
                self._started.set_exception(error)
            else:
                self._give_back(error)
        else:
            if done is not None and self._wanted is not None:
                self._wanted.do(wanted)  # before an engine that comes next is told anything
                done.set_result(None)

    def _refused(self, refused: Refused) -> None:
        if not self._opened.done():
            self._opened.set_exception(refused.error)
        else:
            self._give_back(refused.error)

    def _give_back(self, error: Exception) -> None:
        """End an engine that cannot take the place of the one before."""
        log.error("the new engine cannot begin", error=str(error))
        if self._engines.working is not None:
            self._engines.working.kill()

    def _lose(self) -> None:
        """Take note that the engine ended: what it was asked has no answer any more."""
        self.gate.close()
        self._gathered = Gathered()
        if self._first_settled.done():
            self._first_settled = asyncio.get_running_loop().create_future()
        self._questions.lose()
        for number, (_, done) in self._lists.items():
            done.set_exception(LostError(GONE))
            self._settling.pop(number, None)
        self._lists.clear()
        for settled in self._settling.values():
            _done(settled)  # the next engine has all of it from the beginning


def _done(what: asyncio.Future[None]) -> None:
    if not what.done():
        what.set_result(None)


def _of_host(host: Host) -> Iterator[Here | Ways]:
    yield Here(host.link_mtus, host.addresses)
    for some in portions(host.ways.items()):
        yield Ways(dict(some))
