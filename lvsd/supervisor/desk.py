"""Who answers the control socket's clients: the engine, or somebody out here.

What there is to see the engine tells. What changes something goes through `lvsd.supervisor.door`,
if whoever asks may do that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from lvsd.control.changes import written_change
from lvsd.control.methods import METHODS, parse
from lvsd.control.protocol import Code, encode_error, encode_line
from lvsd.control.requests import in_its_place, read_commands
from lvsd.control.selecting import shown
from lvsd.control.server import MAX_CLIENTS
from lvsd.errors import ControlError, KernelError, PluginError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lvsd.control.peers import Peer
    from lvsd.supervisor.door import Door

Params: TypeAlias = "dict[str, object]"

CHANGING: Final = frozenset({"zero"})
"""The engine's methods that change something."""

MOST_LISTENERS: Final = MAX_CLIENTS // 2
"""Who listens keeps its place among the control socket's clients; others want some, too."""

log = structlog.get_logger("lvsd")


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

    async def ask(self, line: bytes, peer: Peer) -> AsyncGenerator[bytes]:
        """Yield the lines that answer one. Never raises for a bad request."""
        try:
            name, params = parse(line)
        except (ValueError, RecursionError) as error:
            yield encode_error(Code.BAD_REQUEST, str(error))
            return
        method = self._methods.get(name)
        if method is None and name not in METHODS:
            known = ", ".join(sorted([*METHODS, *self._methods]))
            yield encode_error(Code.UNKNOWN_METHOD, f"no method {name!r}; there are: {known}")
        elif (name in CHANGING or (method and method.changes)) and not peer.may_change:
            yield encode_error(Code.FORBIDDEN, "Permission denied (you must be root)")
        elif method is None:
            async with aclosing(self._engine(line)) as lines:
                async for each in lines:
                    yield each
        else:
            async with aclosing(self._answer(name, method, params, peer)) as lines:
                async for each in lines:
                    yield each

    async def _answer(
        self, name: str, method: Method, params: Params, peer: Peer
    ) -> AsyncGenerator[bytes]:
        try:
            result = await method.run(params, peer)
            if not isinstance(result, AsyncGenerator):
                yield encode_line({"result": result})
                return
            async with aclosing(result) as events:
                async for each in events:
                    yield encode_line({"result": each, "more": True})
            yield encode_line({"result": None})
        except ValueError as error:
            yield encode_error(Code.BAD_PARAMS, str(error))
        except (ControlError, PluginError, KernelError) as error:
            yield encode_error(Code.REFUSED, str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("control request failed", method=name, params=shown(params))
            yield encode_error(Code.INTERNAL, "internal error; see lvsd's log")


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
