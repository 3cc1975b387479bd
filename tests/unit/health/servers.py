"""Servers on this machine's loopback, for as long as a probe takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from lvsd.health.base import Target
from lvsd.health.registry import load
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from lvsd.health.base import Check

Serve: TypeAlias = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


def check(name: str, **values: object) -> Check:
    """Return a check of this name, with these options and the defaults of the others."""
    found = load(name)
    return found({each.word: each.default for each in found.options} | values)


def probed(check: Check, serve: Serve, address: str = "127.0.0.1", **server: Any) -> str:
    """Return what a check finds of a server that serves each connection so."""

    async def run() -> str:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
            writer.close()

        async with await asyncio.start_server(served, address, 0, **server) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with asyncio.timeout(10 * PATIENCE):
                return await check.probe(Target(address, port))

    return asyncio.run(run())


def says(*parts: bytes, after: bytes = b"\r\n\r\n") -> Serve:
    """Return a server that reads until ``after`` and sends these parts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after:
            await reader.readuntil(after)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


class _Replies(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], Iterable[bytes]]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for each in self._answer(data):
            self._transport.sendto(each, addr)


def replied(
    check: Check, answer: Callable[[bytes], Iterable[bytes]], address: str = "127.0.0.1"
) -> str:
    """Return what a check finds of a server that answers each datagram with these."""

    async def run() -> str:
        made = asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Replies(answer), (address, 0)
        )
        transport, _ = await made
        try:
            port = transport.get_extra_info("sockname")[1]
            async with asyncio.timeout(10 * PATIENCE):
                return await check.probe(Target(address, port))
        finally:
            transport.close()

    return asyncio.run(run())


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
