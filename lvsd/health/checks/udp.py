r"""``type = "udp"``: the server's port is open, or it answers a datagram as it should (RFC 768).

Sent is ``send``, where ``\xNN`` is a byte, and ``\r``, ``\n``, ``\t`` and ``\\`` are what they are
in C; everything else is UTF-8. Without it, the datagram is empty. In TOML a text in single quotes
keeps its backslashes: ``send = '\x01\x00ping'``.

With ``expect`` the server has to send a datagram in which that regular expression is found; a byte
is the character of the same number (Latin-1). Without, no answer is needed, since many servers keep
quiet about what they do not understand: the server is well unless an ICMP error says within
`QUIET_S` that the port is closed or the host is unreachable (RFC 1122, 4.1.3.3). ``timeout_s`` has
to be longer than that.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.datagrams import Datagrams
from lvsd.health.checks.talk import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.health.base import Target

QUIET_S: Final = 0.2
"""How long an ICMP error may take, in seconds; the farthest real servers are some 100 ms away."""

_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.?))")
_CHARACTERS: Final = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


class Udp(Check):
    """Sends a datagram."""

    name = "udp"
    options: ClassVar[tuple[Option, ...]] = (
        Option("send", Kind.TEXT, r"what to send, with \xNN for bytes", ""),
        Option("expect", Kind.PATTERN, "a regular expression that is to be found in the answer"),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._datagram = unescaped(values["send"])
        self._expect: re.Pattern[str] | None = values["expect"]

    async def probe(self, target: Target) -> str:
        """Return whether it was answered. Raise UnhealthyError, OSError."""
        with Datagrams(target) as server:
            server.send(self._datagram)
            if self._expect is None:
                return await _quiet(server)
            data = await server.receive()
        if not self._expect.search(data.decode("latin-1")):
            raise UnhealthyError(f"answer lacks {self._expect.pattern!r}: {quoted(data)}")
        return "answered"


async def _quiet(server: Datagrams) -> str:
    try:
        async with asyncio.timeout(QUIET_S):
            await server.receive()
    except TimeoutError:
        return "no error"
    return "answered"


def unescaped(text: str) -> bytes:
    """Return the bytes that ``send`` means. Raise ValueError."""
    made = bytearray()
    at = 0
    for found in _ESCAPE.finditer(text):
        made += text[at : found.start()].encode()
        if found[1]:
            made.append(int(found[1], 16))
        elif found[2] in _CHARACTERS:
            made += _CHARACTERS[found[2]]
        else:
            raise ValueError(rf"send has {found[0]}, expected \xNN, \r, \n, \t or \\ there")
        at = found.end()
    return bytes(made + text[at:].encode())
