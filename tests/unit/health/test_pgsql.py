"""``type = "pgsql"``: SSLRequest, or the beginning of a session. The packets are PostgreSQL's."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import UnhealthyError
from lvsd.health.checks.pgsql import SSL_REQUEST
from tests.unit.health.servers import check, probed

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.unit.health.servers import Serve


def refusal(code: str, text: str) -> bytes:
    """Return an ErrorResponse."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0".encode()
    return b"E" + struct.pack("!I", 4 + len(fields)) + fields


def server(answer: bytes, heard: list[bytes] | None = None) -> Serve:
    """Return a server that answers the first message, and notes all until the end."""
    noted = [] if heard is None else heard

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readexactly(4)
        noted.append(head + await reader.readexactly(int.from_bytes(head) - 4))
        writer.write(answer)
        noted.append(await reader.read())

    return serve


@pytest.mark.parametrize(("answer", "said"), [(b"S", "with TLS"), (b"N", "without TLS")])
def test_without_a_user_any_answer_about_tls_is_well(answer: bytes, said: str) -> None:
    heard: list[bytes] = []
    assert probed(check("pgsql"), server(answer, heard)) == said
    assert heard == [SSL_REQUEST, b""]


def test_a_session_is_begun_and_left_when_a_password_is_wanted() -> None:
    heard: list[bytes] = []
    scram = b"R" + struct.pack("!II", 8, 10)
    assert probed(check("pgsql", user="lvsd"), server(scram, heard)) == "asks for a password"
    said = b"user\0lvsd\0database\0lvsd\0application_name\0lvsd\0\0"
    assert heard == [struct.pack("!II", 8 + len(said), 3 << 16) + said, b""]


def test_a_session_that_was_let_in_is_ended() -> None:
    heard: list[bytes] = []
    asked = check("pgsql", user="lvsd", database="shop")
    assert probed(asked, server(b"R" + struct.pack("!II", 8, 0), heard)) == "lets the user in"
    assert b"database\0shop\0" in heard[0]
    assert heard[1] == b"X\0\0\0\x04"


def test_who_may_connect_is_not_judged() -> None:
    denied = refusal("28000", "no pg_hba.conf entry")
    assert probed(check("pgsql", user="lvsd"), server(denied)) == "refuses the user (28000)"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refusal("57P03", "the database system is starting up"), "57P03: the database system is"),
        (refusal("53300", "sorry, \x1b[2J"), r"53300: sorry, \x1b[2J"),
        (b"HTTP/1.1 400", "no PostgreSQL: 'H', expected an answer"),
        (b"E" + b"\xff" * 4, "no PostgreSQL: a message of 4294967295 bytes"),
        (b"E\0\0\0\x08ab", "closed after 'ab'"),
    ],
)
@pytest.mark.parametrize("user", ["lvsd", None])
def test_everything_else_is_not_well(user: str | None, answer: bytes, why: str) -> None:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(answer)

    with pytest.raises(UnhealthyError, match=f"^{re.escape(why)}"):
        probed(check("pgsql", user=user), serve)


def test_a_database_needs_a_user() -> None:
    with pytest.raises(ValueError, match=r"^database needs user$"):
        check("pgsql", database="shop")
