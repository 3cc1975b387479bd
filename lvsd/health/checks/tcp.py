"""``type = "tcp"``: the server accepts a connection (RFC 9293).

That is all that is asked: a program that hangs still has a kernel that accepts for it, until its
backlog is full. Where the protocol has a check of its own, use that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.health.base import Check
from lvsd.health.checks.talk import Talk

if TYPE_CHECKING:
    from lvsd.health.base import Target


class Tcp(Check):
    """Opens a connection, and resets it: neither end keeps it in TIME_WAIT then."""

    name = "tcp"

    async def probe(self, target: Target) -> str:
        """Return that it was accepted. Raise OSError."""
        async with Talk(target):
            return "connection accepted"
