"""Engines as processes: one that works, and another one in its place at once when it ends.

An engine that says nothing for too long is killed. Engines that end again and again are not worth
starting: then the supervisor is told, and gives up.

An engine ends when its end of the socket pair closes, as it does when the supervisor ends, however
that happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from lvsd.engine.wire import Wire
from lvsd.errors import KernelError, LvsdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lvsd.errors import WireError
    from lvsd.supervisor.forker import Forker

SILENT_S: Final = 10.0
"""An engine that says nothing for so long, not even a beat, is killed."""

SHARE: Final = 0.6
"""Of the time of systemd's watchdog, where that is less: a new engine gives beats in the rest."""

DEATHS: Final = 5
"""So many engines in a row may end, each before the last one's `DEATHS_S` are over."""

DEATHS_S: Final = 60.0
FAREWELL_S: Final = 7.0
"""How long an engine may take to end once it is asked to, in seconds; then it is killed."""

KILLED_S: Final = 1.0
"""How long to wait for the news that an engine has ended that was killed, in seconds."""

_UNBURIED: Final = "an engine was killed and does not end, or the forker hangs"

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
        self._end_of_wire = ""
        self._waiter: asyncio.Task[None] | None = None
        self.is_killed = False
        """Whether it was ended at once, and is to be gone soon."""
        self.process = 0
        """The number of its process; 0 before it is started."""
        self.heard_at = time.monotonic()

    async def start(self, forker: Forker) -> None:
        """Have its process made. Raise KernelError."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise KernelError("start an engine", error, "see socketpair(2)") from error
        with theirs:
            try:
                self.process, status = await forker.fork(theirs)
            except BaseException:
                ours.close()
                raise
        self._wire = Wire(ours, self._classes, self._receive, self._wire_ended)
        self._wire.start(asyncio.get_running_loop())
        self.heard_at = time.monotonic()
        self._waiter = asyncio.create_task(self._wait(status))

    def send(self, message: object) -> None:
        """Send it a message. Nothing happens when it has ended."""
        if self._wire is not None:
            self._wire.send(message)

    @property
    def descriptor(self) -> int:
        """Our end of the socket pair."""
        return self._wire.descriptor if self._wire is not None else -1

    @property
    def has_all(self) -> bool:
        """Whether it has all that it was sent. One that has just ended has not."""
        return self.descriptor >= 0 and self._wire is not None and not self._wire.waiting_bytes

    def kill(self) -> None:
        """End it at once."""
        self.is_killed = True
        if self._waiter is not None and not self._waiter.done():
            with suppress(ProcessLookupError):  # it is gone, and we are about to be told
                os.kill(self.process, signal.SIGKILL)

    async def stop(self, farewell: object = None) -> None:
        """Have it end in order, by a message or as its wire ends; kill it if it does not.

        Return when it has ended, or soon after it was killed: of one that was forked by a process
        that hangs nobody tells that it has.
        """
        if self._wire is not None and farewell is not None:
            self._wire.send(farewell)
        elif self._wire is not None:
            self._wire.close()
        if self._waiter is None:
            return
        ended, _ = await asyncio.wait([self._waiter], timeout=FAREWELL_S)
        if not ended:
            log.warning("an engine did not end and was killed", process=self.process)
            self.kill()
            await asyncio.wait([self._waiter], timeout=KILLED_S)

    def _receive(self, message: object) -> None:
        self.heard_at = time.monotonic()
        self._heard(self, message)

    def _wire_ended(self, error: WireError | None) -> None:
        """Let no process live on that cannot be talked with."""
        self._end_of_wire = f"; {error}" if error else ""
        if error is not None:
            self.kill()

    async def _wait(self, ends: asyncio.Future[int | None]) -> None:
        status = await ends
        if self._wire is not None:
            self._wire.close()
        self._ended(self, _said(status) + self._end_of_wire)


class Engines:
    """Keeps an engine at work. ``begin`` is to tell a new one all it must know.

    ``heard`` gets what the working engine says, ``lost`` is called when one has ended.
    """

    def __init__(
        self,
        forker: Forker,
        classes: Iterable[type],
        begin: Callable[[Engine], None],
        heard: Callable[[object], None],
        lost: Callable[[], None],
        *,
        silent_s: float,
    ) -> None:
        self._forker = forker
        self._classes = tuple(classes)
        self._begin = begin
        self._heard = heard
        self._lost = lost
        self._silent_s = silent_s
        self._working: Engine | None = None
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._starting: asyncio.Task[None] | None = None
        self._given_up = asyncio.Event()
        self._why = ""
        self._stopping = False
        self._looked_at = float("inf")
        self.replaced = 0
        """How many engines ended and were replaced."""

    @property
    def working(self) -> Engine | None:
        """The engine that has the packets, if there is one now."""
        return self._working

    def counters(self) -> dict[str, int]:
        """Return how many were replaced, and 1 if no other can be made any more."""
        return {"replaced": self.replaced, "forker_ended": int(self._forker.has_ended)}

    async def start(self) -> None:
        """Start an engine. Raise KernelError."""
        engine = Engine(self._classes, self._receive, self._ended)
        await engine.start(self._forker)
        self._working = engine
        self._begin(engine)

    async def given_up(self) -> NoReturn:
        """Wait until no engine stays alive; raise EngineError then."""
        await self._given_up.wait()
        raise EngineError(self._why)

    def send(self, message: object) -> None:
        """Send the working engine a message. Nothing happens while there is none."""
        if self._working is not None:
            self._working.send(message)

    def look(self, now: float) -> None:
        """Kill the working engine if it has said nothing for too long; ``now`` is monotonic.

        To be called about once a second. After a longer pause this process was stopped itself, and
        the engine perhaps with it: its silence counts from the end of that on.
        """
        paused, self._looked_at = now - self._looked_at > self._silent_s / 2, now
        engine = self._working
        if engine is not None and paused:
            engine.heard_at = now
        if engine is not None and now - engine.heard_at > self._silent_s:
            engine.heard_at = now  # it takes a moment to be gone
            if engine.is_killed:
                self._give_up(_UNBURIED)
                return
            log.error("the engine says nothing and is killed", process=engine.process)
            engine.kill()

    async def stop(self, farewell: object = None) -> None:
        """End the engine, in order, by a message where it is to do something first.

        Harmless when done twice, or before `start`.
        """
        self._stopping = True
        if self._starting is not None:
            _, unfinished = await asyncio.wait([self._starting], timeout=FAREWELL_S)
            for task in unfinished:  # the process that forks hangs
                task.cancel()
        if self._working is not None:
            await self._working.stop(farewell)
        self._working = None

    def _receive(self, engine: Engine, message: object) -> None:
        if engine is self._working:
            self._heard(message)

    def _ended(self, engine: Engine, how: str) -> None:
        """Replace an engine that is gone."""
        if self._stopping or engine is not self._working:
            return
        self._working = None
        self._lost()
        self.replaced += 1
        log.error("the engine ended", process=engine.process, how=how)
        self._deaths.append(time.monotonic())
        if len(self._deaths) == DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_S:
            self._give_up(f"{DEATHS} engines ended within {DEATHS_S:.0f} s, the last one {how}")
        else:
            self._starting = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        try:
            await self.start()
        except KernelError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self._why = why
        self._given_up.set()


def _said(status: int | None) -> str:
    """Return how a process ended, from its exit status, as part of a sentence."""
    if status is None:
        return "for a reason that is not known"
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def silent_s(watchdog_s: float | None) -> float:
    """Return how long an engine may be silent, in seconds, so that systemd sees another in time."""
    return min(SILENT_S, SHARE * (watchdog_s or SILENT_S / SHARE))
