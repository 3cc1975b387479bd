"""``type = "pgsql"``: the server speaks PostgreSQL's protocol, and takes clients (version 3.0).

With ``user``, the check begins a session of that user and of ``database`` (by default, of the same
name), and leaves as soon as the server asks for a password, or lets it in. An error such as 57P03,
the database system is starting up, or 53300, too many clients, is not well; one of class 28 is: who
may connect is not for the check to judge, so the user need not exist. That is what pg_isready asks.

Without, it asks whether the server speaks TLS (SSLRequest): any answer is well, also while the
database starts. A server that does speak TLS notes in its log each time that nothing follows.

Connections are closed as PostgreSQL likes it: it logs those that are reset.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.health.base import Target

SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
TERMINATE: Final = b"X" + struct.pack("!I", 4)
AUTHENTICATION_OK: Final = 0
VERSION_3: Final = 3 << 16
LONGEST: Final = 1 << 14
"""Bytes of a message at the most."""


class Pgsql(Check):
    """Begins a session, or asks about TLS."""

    name = "pgsql"
    options: ClassVar[tuple[Option, ...]] = (
        Option("user", Kind.TEXT, "a user"),
        Option("database", Kind.TEXT, "a database"),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        if values["database"] and not values["user"]:
            raise ValueError("database needs user")
        words = [
            *("user", values["user"], "database", values["database"] or values["user"]),
            *("application_name", "lvsd"),
        ]
        self._startup = b""
        if values["user"]:
            said = b"".join(word.encode() + b"\0" for word in words) + b"\0"
            self._startup = struct.pack("!II", 8 + len(said), VERSION_3) + said

    async def probe(self, target: Target) -> str:
        """Return what it said. Raise UnhealthyError, OSError."""
        async with Talk(target) as talk:
            said = await (self._began(talk) if self._startup else _asked_for_tls(talk))
            await talk.finish()
        return said

    async def _began(self, talk: Talk) -> str:
        await talk.say(self._startup)
        kind = await talk.exactly(1)
        if kind != b"R":
            return await _refused(talk, kind)
        _, method = struct.unpack("!II", await talk.exactly(8))
        if method != AUTHENTICATION_OK:
            return "asks for a password"
        await talk.say(TERMINATE)
        return "lets the user in"


async def _asked_for_tls(talk: Talk) -> str:
    await talk.say(SSL_REQUEST)
    kind = await talk.exactly(1)
    if kind == b"S":
        return "with TLS"
    if kind == b"N":
        return "without TLS"
    return await _refused(talk, kind)


async def _refused(talk: Talk, kind: bytes) -> str:
    """Return what an error says that is none; else raise UnhealthyError."""
    if kind != b"E":
        raise UnhealthyError(f"no PostgreSQL: {quoted(kind)!r}, expected an answer")
    (length,) = struct.unpack("!I", await talk.exactly(4))
    if not 4 <= length <= LONGEST:
        raise UnhealthyError(f"no PostgreSQL: a message of {length} bytes")
    said = (await talk.exactly(length - 4)).split(b"\0")
    fields = {field[:1]: field[1:] for field in said if field}
    code, text = quoted(fields.get(b"C", b"")), quoted(fields.get(b"M", b""))
    if code.startswith("28"):
        return f"refuses the user ({code})"
    raise UnhealthyError(f"{code}: {text}")
