"""Servers on this machine's loopback, for as long as a probe takes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from lvsd.health.base import Target
from lvsd.health.registry import load
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
