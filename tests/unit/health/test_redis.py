"""``type = "redis"``: PING, and what answers count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import UnhealthyError
from tests.unit.health.servers import check, probed, says

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

PING = b"*1\r\n$4\r\nPING\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"+PONG\r\n", "PONG"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        (b"-NOPERM this user has no permissions to run the 'ping' command\r\n", "NOPERM"),
    ],
)
def test_a_server_that_answers_or_knows_who_may_ask_is_well(answer: bytes, said: str) -> None:
    assert probed(check("redis"), says(answer, after=PING)) == said


@pytest.mark.parametrize(
    "answer",
    [
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down",
        "-ERR max number of clients reached",
        "HTTP/1.1 400 Bad Request",
    ],
)
def test_every_other_answer_is_not(answer: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^PING: {re.escape(answer)}, expected"):
        probed(check("redis"), says(answer.encode() + b"\r\n", after=PING))


def test_a_password_is_said_before(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        heard.append(await reader.readuntil(b"secret\r\n"))
        writer.write(b"+OK\r\n")
        heard.append(await reader.readuntil(PING))
        writer.write(b"+PONG\r\n")

    (tmp_path / "password").write_text("top secret\nnot this\n")
    asked = check("redis", password_file=tmp_path / "password")
    assert probed(asked, serve) == "PONG"
    assert heard == [b"*2\r\n$4\r\nAUTH\r\n$10\r\ntop secret\r\n", PING]


def test_a_wrong_password_is_not_well(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    asked = check("redis", password_file=tmp_path / "password")
    with pytest.raises(UnhealthyError, match=r"^AUTH: -WRONGPASS no, expected \+OK$") as raised:
        probed(asked, says(b"-WRONGPASS no\r\n", after=b"wrong\r\n"))
    assert "wrong" not in str(raised.value)


def test_a_file_without_a_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "none"):
        with pytest.raises(ValueError, match=r"^password_file "):
            check("redis", password_file=tmp_path / name)
