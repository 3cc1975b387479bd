"""``type = "udp"``: a datagram is answered, or at least not refused."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from lvsd.health.base import Target, UnhealthyError
from lvsd.health.checks.udp import unescaped
from tests.unit.health.servers import check, free_port, replied


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_answer_that_has_what_is_expected_is_well(address: str) -> None:
    heard: list[bytes] = []

    def answer(data: bytes) -> list[bytes]:
        heard.append(data)
        return [b"\xff\x00pong"]

    asked = check("udp", send=r"\x00ping\r\n", expect=re.compile("^\xff\x00pong$"))
    assert replied(asked, answer, address) == "answered"
    assert heard == [b"\x00ping\r\n"]


def test_another_answer_is_not_and_is_quoted() -> None:
    asked = check("udp", send="ping", expect=re.compile("pong"))
    with pytest.raises(UnhealthyError, match=r"^answer lacks 'pong': no\\x1b\[2J$"):
        replied(asked, lambda _data: [b"no\x1b[2J"])


def test_without_expect_silence_is_well() -> None:
    assert replied(check("udp"), lambda _data: []) == "no error"
    assert replied(check("udp", send="x"), lambda data: [data]) == "answered"


@pytest.mark.parametrize("expect", [None, re.compile("x")])
def test_a_closed_port_is_not_well(expect: re.Pattern[str] | None) -> None:
    target = Target("127.0.0.1", free_port(socket.SOCK_DGRAM))
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(check("udp", expect=expect).probe(target))


def test_escapes_are_bytes_and_the_rest_is_utf_8() -> None:
    assert unescaped(r"a\x00\xFF\\x41\t" + "\N{EURO SIGN}") == b"a\x00\xff\\x41\t\xe2\x82\xac"


@pytest.mark.parametrize("text", [r"\x0", r"\q", "\\"])
def test_other_escapes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^send has \\"):
        check("udp", send=text)
