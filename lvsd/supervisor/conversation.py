"""What is said to engines, and what they answer: the one place that knows the order of it.

An engine that comes in place of another is told everything anew.
"""

from __future__ import annotations

import asyncio
from itertools import count, islice
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.control.protocol import Code, encode_error
from lvsd.engine.diversions import Gathered
from lvsd.engine.messages import (
    TO_SUPERVISOR,
    TOGETHER,
    Answer,
    Applied,
    Beat,
    Divert,
    Enough,
    Farewell,
    Here,
    Next,
    Opened,
    Question,
    Refused,
    Settled,
    Start,
    Started,
    Ways,
    parts,
)
from lvsd.errors import ControlError, PluginError
from lvsd.supervisor.engines import Engines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from lvsd.core.commands import Command
    from lvsd.core.values import Way
    from lvsd.engine.messages import Begin
    from lvsd.io.ruleset import Diverted
    from lvsd.supervisor.engines import Engine
    from lvsd.supervisor.forker import Forker

SILENT_S: Final = 10.0
"""An engine at work that says nothing for so long, not even a beat, is killed."""

_GONE: Final = "the engine ended and is being replaced: ask again"

log = structlog.get_logger("lvsd")


class Conversation:
    """Talks with the engine that is at work.

    ``begin`` makes what an engine begins with. ``on_diverted`` is called with what has to be
    diverted, when it is known and when it changes, ``on_beat`` whenever the engine says that it is
    well. ``groups`` tells what the supervisor counts.
    """

    def __init__(
        self,
        forker: Forker,
        begin: Callable[[], Begin],
        on_diverted: Callable[[Diverted], None],
        on_beat: Callable[[], None],
        groups: Callable[[], Mapping[str, Mapping[str, int]]],
    ) -> None:
        self._begin = begin
        self._on_diverted = on_diverted
        self._on_beat = on_beat
        self._groups = groups
        self._engines = Engines(
            forker, TO_SUPERVISOR, self._tell_all, self._hear, self._lose, silent_s=SILENT_S
        )
        self._numbers = count(1)
        self._wanted: list[Command] | None = None
        self._here: Here | None = None
        self._ways: dict[bytes, Way] = {}
        self._gathered = Gathered()
        self._questions: dict[int, asyncio.Queue[Answer | None]] = {}
        self._lists: dict[int, asyncio.Future[None]] = {}
        self._opened: asyncio.Future[None]
        self._started: asyncio.Future[None]
        self._is_at_work = False
        self.connections = 0
        """How many there were when the engine last said so."""

    @property
    def replaced(self) -> int:
        """How many engines ended and were replaced."""
        return self._engines.replaced

    # --- start and end --------------------------------------------------------------------------

    async def open(self) -> None:
        """Start an engine, and wait until it has the queue. Raise KernelError, EngineError."""
        loop = asyncio.get_running_loop()
        self._opened, self._started = loop.create_future(), loop.create_future()
        await self._engines.start()
        await self._unless_given_up(self._opened)

    def configure(self, wanted: Sequence[Command]) -> None:
        """Tell it what it is to have, after what was `learned`, and to take packets then."""
        self._wanted = list(wanted)
        if self._engines.working is not None:
            self._tell_wanted()

    async def started(self) -> None:
        """Wait until packets are taken, and it is known what has to be diverted.

        Raise ControlError or PluginError where what is wanted cannot be, EngineError.
        """
        await self._unless_given_up(self._started)

    async def ended(self) -> None:
        """Wait until no engine stays alive; raise EngineError then."""
        await self._engines.given_up()

    async def stop(self) -> None:
        """End the engine in order. Harmless when done twice, or before `open`."""
        await self._engines.stop(Farewell())

    def look(self, now: float) -> None:
        """Kill an engine that is silent; ``now`` is on the monotonic clock, in seconds."""
        if self._is_at_work:
            self._engines.look(now)

    async def _unless_given_up(self, what: asyncio.Future[None]) -> None:
        given_up = asyncio.create_task(self._engines.given_up())
        try:
            await asyncio.wait((what, given_up), return_when=asyncio.FIRST_COMPLETED)
            if not what.done():
                given_up.result()
            what.result()
        finally:
            given_up.cancel()

    # --- what it is told ------------------------------------------------------------------------

    def learned(self, here: Here, ways: Mapping[bytes, Way]) -> None:
        """Tell of this host, and of the ways to real servers: what is new in it."""
        if here != self._here:
            self._here = here
            self._engines.send(here)
        new = {address: way for address, way in ways.items() if self._ways.get(address) != way}
        self._ways = dict(ways)
        for message in _in_parts(new):
            self._engines.send(message)

    async def apply(self, wanted: Sequence[Command]) -> None:
        """Have a list of commands done: all of them, or none.

        Raise ControlError or PluginError where one cannot be, and ControlError when the engine
        ends meanwhile: then the next one does not have them.
        """
        number = next(self._numbers)
        done = self._lists[number] = asyncio.get_running_loop().create_future()
        for message in parts(number, wanted):
            self._engines.send(message)
        if self._engines.working is None:
            self._lose()
        await done
        self._wanted = [*(self._wanted or ()), *wanted]

    def _tell_all(self, engine: Engine) -> None:
        """Tell an engine that is new all that there is to say."""
        engine.send(self._begin())
        if self._here is not None:
            engine.send(self._here)
        for message in _in_parts(self._ways):
            engine.send(message)
        if self._wanted is not None:
            self._tell_wanted(engine)

    def _tell_wanted(self, engine: Engine | None = None) -> None:
        to = engine or self._engines
        for message in parts(0, self._wanted or ()):
            to.send(message)
        to.send(Start())

    # --- what it says ---------------------------------------------------------------------------

    def _hear(self, message: object) -> None:
        match message:
            case Answer():
                self._answered(message)
            case Applied():
                self._applied(message)
            case Beat(connections):
                self.connections = connections
                self._on_beat()
            case Divert():
                self._gathered.take(message)
            case Opened():
                _done(self._opened)
            case Refused():
                self._refused(message)
            case Settled():
                self._on_diverted(self._gathered.diverted)
            case Started():
                self._is_at_work = True
                _done(self._started)

    def _answered(self, answer: Answer) -> None:
        if answer.number in self._questions:
            self._questions[answer.number].put_nowait(answer)

    def _applied(self, applied: Applied) -> None:
        done = self._lists.pop(applied.number, None)
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
            if done is not None:
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
        self._is_at_work = False
        self._gathered = Gathered()
        for answers in self._questions.values():
            answers.put_nowait(None)
        for done in self._lists.values():
            done.set_exception(ControlError(_GONE))
        self._lists.clear()

    # --- questions ------------------------------------------------------------------------------

    async def ask(self, line: bytes) -> AsyncGenerator[bytes]:
        """Yield the lines that answer a client's, as the engine gives them."""
        number = next(self._numbers)
        answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._questions[number] = answers
        is_over = self._engines.working is None
        if is_over:
            answers.put_nowait(None)
        self._engines.send(Question(number, line, self._groups()))
        try:
            while True:
                answer = await answers.get()
                if answer is None:
                    is_over = True
                    yield encode_error(Code.BUSY, _GONE)
                    return
                is_over = answer.is_last
                yield answer.line
                if is_over:
                    return
                self._engines.send(Next(number))
        finally:
            del self._questions[number]
            if not is_over:
                self._engines.send(Enough(number))


def _done(what: asyncio.Future[None]) -> None:
    if not what.done():
        what.set_result(None)


def _in_parts(ways: Mapping[bytes, Way]) -> Iterator[Ways]:
    left = iter(ways.items())
    while some := dict(islice(left, TOGETHER)):
        yield Ways(some)
