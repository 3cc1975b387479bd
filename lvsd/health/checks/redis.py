"""``type = "redis"``: the server answers PING with PONG (Redis serialization protocol, RESP).

It does for Valkey and KeyDB, too. With ``password_file``, a file whose first line is the password
of the default user, AUTH is said before. Without, a server that wants one is well if it says so
(NOAUTH): it runs. One that loads its data (LOADING), has lost its primary (MASTERDOWN) or is
blocked by a script (BUSY) is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lvsd.health.base import Target

PONG: Final = b"+PONG"
REFUSALS: Final = (b"-NOAUTH", b"-NOPERM")
"""It knows who may ask, and so it runs."""


class Redis(Check):
    """Says PING."""

    name = "redis"
    options: ClassVar[tuple[Option, ...]] = (
        Option("password_file", Kind.FILE, "a file with the password in its first line"),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        path: Path | None = values["password_file"]
        self._auth = _command(b"AUTH", _password(path)) if path is not None else b""

    async def probe(self, target: Target) -> str:
        """Return what it said. Raise UnhealthyError, OSError."""
        async with Talk(target) as talk:
            if self._auth:
                await talk.say(self._auth)
                said = await talk.line()
                if said != b"+OK":
                    raise UnhealthyError(f"AUTH: {quoted(said)}, expected +OK")
            await talk.say(_command(b"PING"))
            said = await talk.line()
        if said == PONG or (not self._auth and said.startswith(REFUSALS)):
            return quoted(said[1:].partition(b" ")[0])
        raise UnhealthyError(f"PING: {quoted(said)}, expected +PONG")


def _command(*words: bytes) -> bytes:
    said = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(said)


def _password(path: Path) -> bytes:
    try:
        password = path.read_bytes().partition(b"\n")[0].removesuffix(b"\r")
    except OSError as error:
        raise ValueError(f"password_file cannot be read: {error.strerror}") from error
    if not password:
        raise ValueError("password_file has no password in its first line")
    return password
