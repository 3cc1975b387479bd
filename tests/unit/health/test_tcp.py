"""``type = "tcp"``: a connection is accepted, or not."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import Target
from tests.unit.health.servers import check, probed

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


async def read(reader: StreamReader, _writer: StreamWriter) -> None:
    """Do nothing but read."""
    await reader.read()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_server_that_accepts_is_well(address: str) -> None:
    assert probed(check("tcp"), read, address) == "connection accepted"


def test_a_server_that_does_not_listen_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(check("tcp").probe(Target("127.0.0.1", port)))


def test_the_connection_ends_by_a_reset() -> None:
    async def run() -> BaseException | bytes:
        end: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

        async def note(reader: StreamReader, _writer: StreamWriter) -> None:
            try:
                end.set_result(await reader.read())
            except ConnectionResetError as error:
                end.set_result(error)

        async with await asyncio.start_server(note, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            await check("tcp").probe(Target("127.0.0.1", port))
            return await end

    assert isinstance(asyncio.run(run()), ConnectionResetError)
