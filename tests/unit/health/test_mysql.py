"""``type = "mysql"``: handshake, login, COM_QUIT. The packets are MariaDB's and MySQL's."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import UnhealthyError
from tests.unit.health.servers import check, probed

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


def framed(number: int, data: bytes) -> bytes:
    """Return a packet of the protocol."""
    return struct.pack("<I", len(data) | number << 24) + data


HELLO = framed(0, b"\x0a5.5.5-10.11.6-MariaDB\0" + bytes(60))
OK = b"\0\0\0\x02\0\0\0"
SWITCH = b"\xfecaching_sha2_password\0" + b"x" * 20 + b"\0"
DENIED = b"\xff\x15\x04#28000Access denied"


def test_a_server_that_lets_the_user_in_is_well() -> None:
    heard: list[bytes] = []

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(HELLO)
        head = await reader.readexactly(4)
        heard.append(head + await reader.readexactly(head[0]))
        writer.write(framed(2, OK))
        heard.append(await reader.readexactly(5))

    assert probed(check("mysql", user="lvsd"), serve) == "10.11.6-MariaDB"
    login, bye = heard
    assert login[3] == 1
    assert login[4 + 32 :] == b"lvsd\0\0mysql_native_password\0"
    assert bye == b"\x01\0\0\0\x01"


def test_another_way_to_log_in_is_taken_with_no_password() -> None:
    heard: list[bytes] = []

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(HELLO)
        head = await reader.readexactly(4)
        await reader.readexactly(head[0])
        writer.write(framed(2, SWITCH))
        heard.append(await reader.readexactly(4))
        writer.write(framed(4, b"\x01\x03") + framed(5, OK))
        heard.append(await reader.readexactly(5))

    assert probed(check("mysql", user="lvsd"), serve) == "10.11.6-MariaDB"
    assert heard == [b"\0\0\0\x03", b"\x01\0\0\0\x01"]


@pytest.mark.parametrize(
    ("hello", "answers", "why"),
    [
        (framed(0, b"\xff\x10\x04Too many connections"), (), "error 1040: Too many connections"),
        (HELLO, (DENIED,), "error 1045: Access denied"),
        (framed(0, b"\x09old\0"), (), "protocol 9, expected 10"),
        (b"+PONG\r\n", (), "no MySQL: a packet of 5197867 bytes"),
        (framed(0, b""), (), "no MySQL: a packet of 0 bytes"),
        (HELLO, (b"\x01\x04",) * 4, "the login is not understood"),
        (HELLO, (b"\x77",), "the login is not understood"),
        (b"", (), "closed without an answer"),
    ],
)
def test_everything_else_is_not_well(hello: bytes, answers: tuple[bytes, ...], why: str) -> None:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(hello)
        if answers:
            head = await reader.readexactly(4)
            await reader.readexactly(head[0])
        writer.write(b"".join(framed(2 + at, each) for at, each in enumerate(answers)))

    with pytest.raises(UnhealthyError, match=f"^{re.escape(why)}"):
        probed(check("mysql", user="lvsd"), serve)


def test_a_user_is_needed() -> None:
    with pytest.raises(ValueError, match=r"^user has no name$"):
        check("mysql", user="")
