"""The door of a running lvsd: whoever wants a change brings a list of commands here.

One list after the other: what it would change is worked out first, then what the engine needs to
know for it is looked up, then the engine does all of it or nothing. Only then it is what is wanted,
and those that listen are told.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import structlog

from lvsd.control.changes import described, written_change
from lvsd.control.protocol import LISTENING, LOST, NOTHING
from lvsd.core.commands import Drain, ServerChange, ServiceChange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from lvsd.core.commands import Change, Command
    from lvsd.core.wanted import Wanted

NAMED: Final = 20
"""Changes of a list that the log names one by one; of more it says how many."""

MOST_WAITING: Final = 10_000
"""Events that wait for somebody who listens; then the oldest are lost, which is said."""

QUIET_S: Final = 30.0
"""After what silence those that listen are told that nothing has changed."""

log = structlog.get_logger("lvsd")


Maker: TypeAlias = "Callable[[Wanted], Awaitable[Sequence[Command]]]"
"""Makes commands of what is wanted, which nobody changes meanwhile."""


class Apply(Protocol):
    """Has an engine do a list of commands."""

    async def __call__(self, wanted: Sequence[Command], /, *, until_met: bool = True) -> None:
        """Return when it is done; ``until_met``: when packets meet all that follows, too."""


class Door:
    """Changes what is ``wanted``.

    ``prepare`` finds out what the engine needs to know before changes, and has it told; it returns
    what else is to be done, before the rest. ``apply`` has the engine do a list, and folds it into
    what is wanted. Either may raise ControlError, PluginError or KernelError. ``follow`` is told of
    changes that are done. ``clock`` is the engine's, in seconds.
    """

    def __init__(
        self,
        wanted: Wanted,
        prepare: Callable[[Sequence[Change]], Awaitable[Sequence[Command]]],
        apply: Apply,
        clock: Callable[[], float] = time.monotonic,
        *,
        follow: Callable[[Sequence[Change]], None] = lambda _: None,
    ) -> None:
        self.wanted = wanted
        self._follow = follow
        self._prepare = prepare
        self._apply = apply
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[list[Change]]] = set()
        self._listeners: set[Listener] = set()
        self.tried = 0
        """How many changes there were, be they done or refused."""

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Let nothing change in the block."""
        async with self._lock:
            yield

    async def change(self, commands: Sequence[Command] | Maker, by: str) -> list[Change]:
        """Do a list of commands, all or none, asked for ``by`` somebody; return what changed.

        What makes them of what is wanted is called when it is their turn, and logs by itself what
        they change. It is done to its end even if nobody waits for that any more. Raise
        ControlError, PluginError or KernelError where it cannot be.
        """
        task = asyncio.get_running_loop().create_task(self._change(commands, by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _change(self, given: Sequence[Command] | Maker, by: str) -> list[Change]:
        async with self._lock:
            self.tried += 1
            made = await given(self.wanted) if callable(given) else given
            commands = [_at(each, self._clock()) for each in made]
            changes = self.wanted.would_change(commands)
            first = await self._prepare(changes)
            if first or commands:
                await self._apply([*first, *commands], until_met=_brings(changes))
        if not callable(given):
            self._log(changes, by)
        self._follow(changes)
        self._tell_all(changes, by)
        return changes

    def _log(self, changes: Sequence[Change], by: str) -> None:
        for change in changes[:NAMED]:
            log.info("changed", by=by, **described(change))
        if len(changes) > NAMED:
            log.info("changed", by=by, more=len(changes) - NAMED)

    def _tell_all(self, changes: Sequence[Change], by: str) -> None:
        if self._listeners:
            for change in changes:
                self.tell(written_change(change) | {"by": by})

    # --- events ---------------------------------------------------------------------------------

    def tell(self, entry: dict[str, object]) -> None:
        """Tell those that listen of an event, an object of the control protocol."""
        for listener in self._listeners:
            listener.take(entry)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def listen(self) -> AsyncGenerator[dict[str, object]]:
        """Return the events from now on, the first of which says so; it ends when it is closed."""
        listener = Listener()
        listener.take({"change": LISTENING})
        self._listeners.add(listener)
        return self._events(listener)

    async def _events(self, listener: Listener) -> AsyncGenerator[dict[str, object]]:
        try:
            while True:
                yield await listener.next()
        finally:
            self._listeners.discard(listener)


def _at(command: Command, now: float) -> Command:
    """Return a command that means the same later on, when another engine is told of it."""
    if isinstance(command, Drain) and command.since is None:
        return replace(command, since=now)
    return command


class Listener:
    """Holds the events that somebody has not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, object]] = deque()
        self._lost = 0
        self._came = asyncio.Event()

    def take(self, entry: dict[str, object]) -> None:
        """Take in an event."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(entry)
        self._came.set()

    async def next(self) -> dict[str, object]:
        """Return the next event; where some were lost before it, that comes first.

        When nothing happens for long that is one, too: writing it shows whether anybody is there.
        """
        while not self._waiting:
            self._came.clear()
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._came.wait()
            except TimeoutError:
                return {"change": NOTHING}
        if self._lost:
            lost, self._lost = self._lost, 0
            return {"change": LOST, "count": lost}
        return self._waiting.popleft()


def _brings(changes: Sequence[Change]) -> bool:
    """Whether packets have to be diverted that were not before.

    What is diverted for nobody any more does no harm: the engine leaves it to the host.
    """
    return any(
        isinstance(each, ServiceChange | ServerChange)
        and each.after is not None
        and each.is_of_the_network
        for each in changes
    )
