"""``type = "smtp"``: greeting, EHLO, QUIT."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import UnhealthyError
from lvsd.health.checks.smtp import MOST_LINES
from tests.unit.health.servers import check, probed, says

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.unit.health.servers import Serve

GREETING = b"220 mail.example ESMTP\r\n"
EXTENSIONS = b"250-mail.example\r\n250-PIPELINING\r\n250 SIZE 1024\r\n"


def server(greeting: bytes, hello: bytes, heard: list[bytes] | None = None) -> Serve:
    """Return a server that says these; what it hears is noted."""
    noted = [] if heard is None else heard

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(greeting)
        noted.append(await reader.readline())
        writer.write(hello)
        noted.append(await reader.readline())
        writer.write(b"221 Bye\r\n")

    return serve


@pytest.mark.parametrize("greeting", [GREETING, b"220-mail.example ESMTP\r\n220-b\r\n220 c\r\n"])
def test_a_server_that_greets_and_answers_is_well(greeting: bytes) -> None:
    heard: list[bytes] = []
    asked = check("smtp", helo="lb.example")
    assert probed(asked, server(greeting, EXTENSIONS, heard))[4:] == "mail.example ESMTP"
    assert heard == [b"EHLO lb.example\r\n", b"QUIT\r\n"]


@pytest.mark.parametrize(
    ("greeting", "hello", "why"),
    [
        (b"421 too busy\r\n", b"", "greeting: 421 too busy, expected 220"),
        (b"2200 what\r\n", b"", "greeting: 2200 what, expected 220"),
        (b"220-a\r\n421 b\r\n", b"", "greeting: 421 b, expected 220"),
        (GREETING, b"502 no\r\n", "EHLO: 502 no, expected 250"),
        (GREETING, b"250-a\r\n" * (MOST_LINES + 1), "EHLO: more than 128 lines"),
        (b"SSH-2.0-x\x1b[2J\r\n", b"", r"greeting: SSH-2.0-x\x1b[2J, expected 220"),
    ],
)
def test_another_answer_is_not_well(greeting: bytes, hello: bytes, why: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{re.escape(why)}$"):
        probed(check("smtp"), server(greeting, hello))


def test_a_server_that_does_not_wait_for_quit_is_well() -> None:
    assert probed(check("smtp"), says(GREETING + EXTENSIONS, after=b"")).startswith("220 ")


@pytest.mark.parametrize("name", ["", "a b", "m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller"])
def test_a_name_that_cannot_be_said_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^helo has to be"):
        check("smtp", helo=name)
