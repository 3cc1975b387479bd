"""What the director did with a packet, in a sentence, and what its table says afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core.listing import connection_row
from lvsd.core.verdict import Reason
from lvsd.explain.model import Entry
from lvsd.packet.address import endpoint
from lvsd.packet.numbers import PROTOCOL_NAMES

if TYPE_CHECKING:
    from lvsd.core.balancer import Balancer
    from lvsd.core.connection import Connection
    from lvsd.core.path import Exit

REASONS: Final = {
    Reason.MALFORMED: "it is no good packet",
    Reason.FRAGMENT: "it is a fragment, of which the kernel should have made a whole",
    Reason.NO_CONNECTION: "it belongs to no connection and opens none",
    Reason.NO_SERVER: "no real server is usable",
    Reason.SERVER_GONE: "its real server was removed",
    Reason.TABLE_FULL: "the connection table is full",
    Reason.SERVICE_FULL: "its service has as many connections as it may have",
    Reason.TTL_EXPIRED: "its TTL has come to its end",
    Reason.TOO_BIG: "it is too long for the way to the real server",
    Reason.BAD_CHECKSUM: "the ICMP checksum is wrong",
    Reason.NO_ROUTE: "no way leads to the real server",
    Reason.NO_LOCAL_PORT: "no local address has a free port",
    Reason.NOT_TRANSLATED: "FULLNAT knows no such protocol",
    Reason.NOT_LOCAL: "the real server is the director, but the VIP is no address of it",
    Reason.PLUGIN_FAULT: "the scheduler or forwarder failed, or picked no server of the service",
}
"""Why a packet was dropped, for people."""

LEFT: Final = "The director leaves it to the host's own stack."
PAST: Final = "It goes past the director, which never sees it."
IN_PIECES: Final = "The director sends it on in pieces, by a socket."


class Drops:
    """What a director drops from now on."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._before = balancer.tally.drops.copy()
        balancer.outbox.answers.clear()

    def told(self) -> str:
        """Return a sentence that says why a packet was dropped; empty if none was."""
        dropped = self._balancer.tally.drops - self._before
        if not dropped:
            return ""
        why = " and ".join(f"{REASONS[reason]} ({reason.value})" for reason in dropped)
        told = "; its sender is told by ICMP" if self._balancer.outbox.answers else ""
        return f"The director drops it: {why}{told}."


def entry_of(connection: Connection, now: float) -> Entry:
    """Return a connection's row in the table at ``now``."""
    row = connection_row(connection)
    server = connection.path.server
    return Entry(
        PROTOCOL_NAMES[row.protocol],
        row.state_name,
        row.expires - now,
        endpoint(row.client, row.client_port),
        endpoint(row.vip, row.vport),
        endpoint(row.rip, row.rport),
        row.local and endpoint(*row.local),
        server.active,
        server.inactive,
    )


def kept(balancer: Balancer) -> str:
    """Return a sentence about a packet that went no further: an ICMP error about a tunnel."""
    if balancer.outbox.answers:
        return "The director keeps it: it is about the tunnel. The client is told by ICMP."
    return "The director keeps it: it notes the MTU of the tunnel's way."


def sent(way: Exit) -> str:
    """Return a sentence that says how a packet was sent on."""
    return f"The director sends it on {way.value}."
