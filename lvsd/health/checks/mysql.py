"""``type = "mysql"``: the server lets a user in (MySQL, MariaDB; client/server protocol).

The server speaks first: a handshake packet of protocol 10, or an error such as 1040, too many
connections. The check then logs in as ``user``, who has no password and needs no rights, and says
COM_QUIT. On the server::

    CREATE USER 'lvsd'@'192.0.2.0/255.255.255.0';

A user is needed since a server counts clients that leave without logging in, and after 100 of them
refuses all others from the same host (``max_connect_errors``): checks would take the server down.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.talk import Talk, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.health.base import Target

PROTOCOL: Final = 10
LONGEST_PACKET: Final = 4096
"""Bytes; a handshake has about a hundred, an error at most 512 and some."""

MOST_ROUNDS: Final = 4
"""Packets that a server may send before it has decided; two are usual."""

OK, MORE, SWITCH, ERROR = 0x00, 0x01, 0xFE, 0xFF
"""First bytes: done; a plug-in's own (a hint that the login goes on); another plug-in; an error."""

_LONG_PASSWORD, _PROTOCOL_41, _SECURE, _PLUGIN = 0x1, 0x200, 0x8000, 0x80000
_HIDDEN_VERSION: Final = b"5.5.5-"
"""What MariaDB 10 says first, for old replicas of MySQL."""

_UTF8MB4: Final = 45
_QUIT: Final = b"\x01\x00\x00\x00\x01"


class Mysql(Check):
    """Logs in, and goes."""

    name = "mysql"
    options: ClassVar[tuple[Option, ...]] = (
        Option("user", Kind.TEXT, "a user without a password", is_required=True),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        if not values["user"]:
            raise ValueError("user has no name")
        # HandshakeResponse41: flags, the longest packet, a collation, 23 zeros, user, no password.
        flags = _LONG_PASSWORD | _PROTOCOL_41 | _SECURE | _PLUGIN
        self._login = (
            struct.pack("<IIB23x", flags, 1 << 24, _UTF8MB4)
            + values["user"].encode()
            + b"\0\0mysql_native_password\0"
        )

    async def probe(self, target: Target) -> str:
        """Return the server's version. Raise UnhealthyError, OSError."""
        async with Talk(target) as talk:
            _, hello = await _packet(talk)
            if hello[0] != PROTOCOL:
                raise UnhealthyError(f"protocol {hello[0]}, expected {PROTOCOL}")
            version = quoted(hello[1:].partition(b"\0")[0].removeprefix(_HIDDEN_VERSION))
            await talk.say(_framed(1, self._login))
            for _ in range(MOST_ROUNDS):
                number, said = await _packet(talk)
                if said[0] == OK:
                    await talk.say(_QUIT)
                    await talk.some()
                    return version
                if said[0] == SWITCH:
                    await talk.say(_framed(number + 1, b""))
                elif said[0] != MORE:
                    break
        raise UnhealthyError("the login is not understood")


def _framed(number: int, data: bytes) -> bytes:
    return struct.pack("<I", len(data) | (number & 0xFF) << 24) + data


async def _packet(talk: Talk) -> tuple[int, bytes]:
    """Return the number of a packet, and what is in it. Raise UnhealthyError."""
    (head,) = struct.unpack("<I", await talk.exactly(4))
    length, number = head & 0xFFFFFF, head >> 24
    if not 0 < length <= LONGEST_PACKET:
        raise UnhealthyError(f"no MySQL: a packet of {length} bytes")
    said = await talk.exactly(length)
    if said[0] == ERROR and length > 3:
        (code,) = struct.unpack_from("<H", said, 1)
        text = said[9:] if said[3:4] == b"#" else said[3:]
        raise UnhealthyError(f"error {code}: {quoted(text)}")
    return number, said
