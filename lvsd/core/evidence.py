"""Whether a real server answers: what was seen lately, not whether it ever did.

Evidence that speaks of now has to be able to go back. Here each new fact puts an end to the older
ones: an answer to waiting and refusals, a pause of a minute to a row of refusals. The samples cost
the packet path nothing: they compare counters that it keeps anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.core.states import SYN, TCP_CLOSE, TCP_SYN_RECV
from lvsd.packet.view import TCP, split_key

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.path import Path
    from lvsd.core.stats import Stats
    from lvsd.packet.view import Packet

PAUSE_S: Final = 60.0
"""Seconds without a refusal, after which the next one is the first of a new row."""


@dataclass(slots=True)
class Hearing:
    """When something was last heard of a real server. Times are the director's, in seconds.

    ``heard_at`` is the last sample before which it had sent a packet through the director,
    ``waiting_since`` the first one since then that saw a new connection (None: there was none),
    ``tried_at`` the last one that did.
    """

    heard_at: float | None = None
    waiting_since: float | None = None
    tried_at: float = 0.0
    _out_packets: int = 0
    _connections: int = 0
    _heard_connections: int = 0

    def sample(self, stats: Stats, now: float) -> None:
        """Take in the counters, which only grow."""
        if stats.connections != self._connections:
            self._connections, self.tried_at = stats.connections, now
        if stats.out_packets != self._out_packets:
            self._out_packets = stats.out_packets
            self._heard_connections = stats.connections
            self.heard_at, self.waiting_since = now, None
        elif self.waiting_since is None and stats.connections != self._heard_connections:
            self.waiting_since = now

    def waiting(self, stats: Stats) -> int:
        """Return how many connections began since it was last heard, as of now."""
        if stats.out_packets != self._out_packets:
            return 0
        return stats.connections - self._heard_connections


@dataclass(slots=True)
class Refusals:
    """Refusals in a row: ``count`` of them, the last one at ``last``, in the director's seconds.

    ``port`` is the server's port that refused it, which clients choose where any is served.
    """

    count: int = 0
    last: float = 0.0
    port: int = 0

    def note(self, connection: Connection, now: float) -> None:
        """Count that a connection was refused, as the first of a new row after a pause."""
        if now - self.last > PAUSE_S:
            self.count = 0
        self.count += 1
        self.last = now
        self.port = split_key(connection.reply_key)[0][1]


def note_repeated(connection: Connection, packet: Packet) -> None:
    """Note a SYN that was sent again to a server whose answers we do not see."""
    path = connection.path
    if (
        path.key[-1].bypasses
        and packet.flags & SYN
        and connection.state == TCP_SYN_RECV
        and path.protocol.number == TCP
    ):
        path.server.unanswered += 1


def note_answered(path: Path) -> None:
    """Note that a client and a server have a connection: whatever spoke against it is over."""
    if path.protocol.number == TCP:
        path.server.unanswered = 0
        path.server.refusals.count = 0


def note_reset(connection: Connection, state: int, now: float) -> None:
    """Note that a server ended a connection before it was open, if it did: nobody listens there."""
    path = connection.path
    if connection.state == TCP_SYN_RECV and state == TCP_CLOSE and path.protocol.number == TCP:
        path.server.refusals.note(connection, now)
