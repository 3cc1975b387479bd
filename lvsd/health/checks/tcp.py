"""``type = "tcp"``: the server accepts a connection (RFC 9293).

That is all that is asked: a program that hangs still has a kernel that accepts for it, until its
backlog is full. Where the protocol has a check of its own, use that.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from lvsd.health.base import Check

if TYPE_CHECKING:
    from lvsd.health.base import Target

RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closed by a RST, so that neither end keeps a connection in TIME_WAIT."""


class Tcp(Check):
    """Opens a connection, and resets it."""

    name = "tcp"

    async def probe(self, target: Target) -> str:
        """Return that it was accepted. Raise OSError."""
        family = socket.AF_INET if target.family == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            await asyncio.get_running_loop().sock_connect(ours, (target.address, target.port))
        return "connection accepted"
