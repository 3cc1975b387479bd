"""Who answers the control socket's clients: the engine, or somebody out here.

What there is to see the engine tells. What changes something goes through `lvsd.supervisor.door`,
if whoever asks may do that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.control.answers import refusal
from lvsd.control.changes import written_change
from lvsd.control.methods import METHODS, RequestError, requested
from lvsd.control.protocol import Code, encode_line
from lvsd.control.requests import in_its_place, read_commands
from lvsd.control.server import MAX_CLIENTS
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lvsd.control.peers import Peer
    from lvsd.supervisor.door import Door
    from lvsd.supervisor.gate import Gate

Params: TypeAlias = "dict[str, object]"

CHANGING: Final = frozenset({"zero"})
"""The engine's methods that change something."""

MOST_LISTENERS: Final = MAX_CLIENTS // 2
"""Who listens keeps its place among the control socket's clients; others want some, too."""


class Method:
    """A method that is answered out here; with ``changes`` only for those who may change things.

    ``run`` gets the parameters and who asks, and returns a result. Raise ValueError for parameters
    that are wrong in themselves, ControlError, PluginError or KernelError for what cannot be done.
    """

    def __init__(
        self, run: Callable[[Params, Peer], Awaitable[object]], *, changes: bool = True
    ) -> None:
        self.run = run
        self.changes = changes


class Desk:
    """Answers lines of clients. ``engine`` passes one on, ``methods`` are those that stay here."""

    def __init__(
        self,
        engine: Callable[[bytes], AsyncGenerator[bytes]],
        methods: Mapping[str, Method],
    ) -> None:
        self._engine = engine
        self._methods = methods
        self.busy = ""
        """Why nothing may be changed for a moment."""

    async def ask(self, line: bytes, peer: Peer) -> AsyncGenerator[bytes]:
        """Yield the lines that answer one. Never raises for a bad request."""
        try:
            method, params = self._asked_for(line, peer)
        except RequestError as error:
            yield refusal(error, line)
            return
        answers = self._engine(line) if method is None else _answer(method, params, peer, line)
        async with aclosing(answers) as lines:
            async for each in lines:
                yield each

    def _asked_for(self, line: bytes, peer: Peer) -> tuple[Method | None, Params]:
        """Return the method, None for one of the engine's, and its parameters."""
        name, params = requested(line, sorted([*METHODS, *self._methods]))
        method = self._methods.get(name)
        changes = name in CHANGING or (method is not None and method.changes)
        if changes and not peer.may_change:
            raise RequestError(Code.FORBIDDEN, "Permission denied (you must be root)")
        if changes and self.busy:
            raise RequestError(Code.BUSY, self.busy)
        return method, params


async def _answer(method: Method, params: Params, peer: Peer, line: bytes) -> AsyncGenerator[bytes]:
    try:
        try:
            result = await method.run(params, peer)
        except ValueError as error:
            raise RequestError(Code.BAD_PARAMS, str(error)) from None
        if not isinstance(result, AsyncGenerator):
            yield encode_line({"result": result})
            return
        async with aclosing(result) as events:
            async for each in events:
                yield encode_line({"result": each, "more": True})
        yield encode_line({"result": None})
    except Exception as error:  # noqa: BLE001 - the daemon balances on, whatever is wrong here
        yield refusal(error, line)


def behind(gate: Gate, methods: Mapping[str, Method]) -> dict[str, Method]:
    """Return methods of which those that change something wait until a gate is open."""

    def waiting(method: Method) -> Method:
        async def run(params: Params, peer: Peer) -> object:
            await gate.passed()
            return await method.run(params, peer)

        return Method(run) if method.changes else method

    return {name: waiting(method) for name, method in methods.items()}


def _length(params: Params) -> int:
    commands = params["commands"]
    return len(commands) if isinstance(commands, list) else 0


def methods(door: Door) -> dict[str, Method]:
    """Return what clients may ask for, and the engine does not answer."""

    async def change(params: Params, peer: Peer) -> object:
        try:
            wanted = read_commands(params)
            changes = await door.change(wanted, str(peer))
        except ControlError as error:
            raise in_its_place(error, _length(params)) from error
        return {"changes": [written_change(each) for each in changes]}

    async def subscribe(params: Params, _: Peer) -> object:
        if params:
            raise ValueError("subscribe has no parameters")
        if door.listeners >= MOST_LISTENERS:
            raise ControlError(f"{door.listeners} others listen already: end one of them")
        return door.listen()

    return {"change": Method(change), "subscribe": Method(subscribe, changes=False)}
