"""Engines as processes: one that works, and a spare that has been started ahead.

An engine takes some tenths of a second to start, most of it Python's imports, and packets have no
verdict meanwhile. So a spare is started ahead and waits; when the engine ends, or says nothing for
too long and is killed, the spare takes its place at once, and another one is started. Engines that
end again and again are not worth starting: then the supervisor is told, and gives up.

An engine ends when its end of the socket pair closes, as it does when the supervisor ends, however
that happens.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from lvsd.engine.wire import Wire
from lvsd.errors import LvsdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lvsd.errors import WireError

DEATHS: Final = 5
"""So many engines in a row may end, each before the last one's `DEATHS_S` are over."""

DEATHS_S: Final = 60.0
FAREWELL_S: Final = 10.0
"""How long an engine may take to end once it is asked to, in seconds; then it is killed."""

log = structlog.get_logger("lvsd")


class EngineError(LvsdError):
    """Engines end as soon as they are started."""


class Engine:
    """One engine: its process, and this side's end of the socket pair.

    ``heard`` is called with each message, ``ended`` once when the process is gone, with a sentence
    that says how. ``heard_at`` is when it last said anything, on the monotonic clock.
    """

    def __init__(
        self,
        classes: Iterable[type],
        heard: Callable[[Engine, object], None],
        ended: Callable[[Engine, str], None],
    ) -> None:
        self._classes = tuple(classes)
        self._heard = heard
        self._ended = ended
        self._wire: Wire | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._end_of_wire = ""
        self._waiter: asyncio.Task[None] | None = None
        self.heard_at = time.monotonic()

    @property
    def process(self) -> int:
        """The number of its process; 0 before it is started."""
        return self._process.pid if self._process else 0

    async def start(self, program: Sequence[str]) -> None:
        """Start ``program`` with the number of its descriptor as the last argument.

        Raise OSError.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *program,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        self._wire = Wire(ours, self._classes, self._receive, self._wire_ended)
        self._wire.start(asyncio.get_running_loop())
        self.heard_at = time.monotonic()
        self._waiter = asyncio.create_task(self._wait(self._process))

    def send(self, message: object) -> None:
        """Send it a message. Nothing happens when it has ended."""
        if self._wire is not None:
            self._wire.send(message)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """Have it end in order, which its end of the wire tells it to; kill it if it does not."""
        if self._wire is not None:
            self._wire.close()
        if self._waiter is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.shield(self._waiter)
        except TimeoutError:
            log.warning("an engine did not end and was killed", process=self.process)
            self.kill()
            await self._waiter

    def _receive(self, message: object) -> None:
        self.heard_at = time.monotonic()
        self._heard(self, message)

    def _wire_ended(self, error: WireError | None) -> None:
        """Let no process live on that cannot be talked with."""
        self._end_of_wire = f"; {error}" if error else ""
        if error is not None:
            self.kill()

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._wire is not None:
            self._wire.close()
        self._ended(self, _said(status) + self._end_of_wire)


class Engines:
    """Keeps an engine at work. ``program`` starts one; ``begin`` is to tell it all it must know.

    ``heard`` gets what the working engine says; a spare's messages wait for nobody: it says none.
    """

    def __init__(
        self,
        program: Sequence[str],
        classes: Iterable[type],
        begin: Callable[[Engine], None],
        heard: Callable[[object], None],
        *,
        silent_s: float,
    ) -> None:
        self._program = program
        self._classes = tuple(classes)
        self._begin = begin
        self._heard = heard
        self._silent_s = silent_s
        self._working: Engine | None = None
        self._spare: Engine | None = None
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._starting: asyncio.Task[None] | None = None
        self._given_up = asyncio.Event()
        self._why = ""
        self._stopping = False
        self.replaced = 0
        """How many engines ended and were replaced."""

    @property
    def working(self) -> Engine | None:
        """The engine that has the packets, if there is one now."""
        return self._working

    async def start(self) -> None:
        """Start an engine, and a spare behind it. Raise OSError."""
        self._working = await self._new()
        self._begin(self._working)
        self._start_spare()

    async def given_up(self) -> NoReturn:
        """Wait until no engine stays alive; raise EngineError then."""
        await self._given_up.wait()
        raise EngineError(self._why)

    def send(self, message: object) -> None:
        """Send the working engine a message. Nothing happens while there is none."""
        if self._working is not None:
            self._working.send(message)

    def look(self, now: float) -> None:
        """Kill the working engine if it has said nothing for too long; ``now`` is monotonic."""
        engine = self._working
        if engine is not None and now - engine.heard_at > self._silent_s:
            log.error("the engine says nothing and is killed", process=engine.process)
            engine.heard_at = now  # it takes a moment to be gone
            engine.kill()

    async def stop(self) -> None:
        """End all engines, in order. Harmless when done twice, or before `start`."""
        self._stopping = True
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        for engine in (self._working, self._spare):
            if engine is not None:
                await engine.stop()
        self._working = self._spare = None

    async def _new(self) -> Engine:
        engine = Engine(self._classes, self._receive, self._ended)
        await engine.start(self._program)
        return engine

    def _start_spare(self) -> None:
        if not self._stopping and self._starting is None:
            self._starting = asyncio.create_task(self._make_spare())

    async def _make_spare(self) -> None:
        try:
            engine = await self._new()
        except OSError as error:
            log.warning("no spare engine can be started", error=str(error))
            self._starting = None
            return
        self._starting = None
        if self._working is None and not self._stopping:
            self._promote(engine)
        else:
            self._spare = engine

    def _receive(self, engine: Engine, message: object) -> None:
        if engine is self._working:
            self._heard(message)

    def _ended(self, engine: Engine, how: str) -> None:
        """Replace an engine that is gone."""
        if self._stopping:
            return
        if engine is self._spare:
            self._spare = None
            log.warning("the spare engine ended", process=engine.process, how=how)
        elif engine is self._working:
            self._working = None
            self.replaced += 1
            log.error("the engine ended and is replaced", process=engine.process, how=how)
        else:
            return
        self._deaths.append(time.monotonic())
        if len(self._deaths) == DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_S:
            self._give_up(how)
            return
        if self._working is None and self._spare is not None:
            spare, self._spare = self._spare, None
            self._promote(spare)
        else:
            self._start_spare()

    def _promote(self, engine: Engine) -> None:
        """Let a spare have the packets, and start another one behind it."""
        self._working = engine
        engine.heard_at = time.monotonic()
        self._begin(engine)
        self._start_spare()

    def _give_up(self, how: str) -> None:
        self._why = f"{DEATHS} engines ended within {DEATHS_S:.0f} s, the last one {how}"
        self._given_up.set()


def _said(status: int) -> str:
    """Return how a process ended, from its exit status, as part of a sentence."""
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
