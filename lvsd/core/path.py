"""What all connections from one virtual endpoint to one real server have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.base import Hop
from lvsd.core.states import Direction
from lvsd.packet.rewrite import compile_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarders.plan import Plan
    from lvsd.core.service import RealServer, Service
    from lvsd.core.states import Protocol
    from lvsd.packet.view import Packet


class Path:
    """The plan and its compiled rewriters, shared: a connection itself stays small.

    ``request`` and ``reply`` take a packet and return its new bytes. ``reply`` is None when
    replies do not pass the director. ``request_states`` and ``reply_states`` are the protocol's
    transitions as this path sees them.
    """

    __slots__ = (
        "hop",
        "plan",
        "protocol",
        "reply",
        "reply_states",
        "request",
        "request_states",
        "server",
        "server_stats",
        "service_stats",
    )

    def __init__(self, server: RealServer, protocol: Protocol, hop: Hop) -> None:
        self.server = server
        self.protocol = protocol
        self.hop = hop
        self.server_stats = server.meter.stats
        self.bind(server.service)
        self.plan: Plan = server.forwarder.plan(hop)
        self.request: Callable[[Packet], bytes] = compile_steps(
            self.plan.request, protocol=protocol.number, destination=(hop.vip, hop.vport)
        )
        self.reply: Callable[[Packet], bytes] | None = None
        if self.plan.reply is not None:
            self.reply = compile_steps(
                self.plan.reply, protocol=protocol.number, source=(hop.rip, hop.rport)
            )

        direction = Direction.REQUEST if self.reply else Direction.REQUEST_ONLY
        self.request_states = protocol.next[direction]
        self.reply_states = protocol.next[Direction.REPLY]

    def bind(self, service: Service) -> None:
        """Count for this service from now on."""
        self.service_stats = service.meter.stats


def path_to(server: RealServer, protocol: Protocol, virtual: tuple[bytes, int], rport: int) -> Path:
    """Return the path from a virtual endpoint to a real server's port, compiled on first use."""
    vip, vport = virtual
    key = protocol.number, vip, vport, rport
    path = server.paths.get(key)
    if path is None:
        hop = Hop(vip, vport, server.address, rport)
        path = server.paths[key] = Path(server, protocol, hop)
    return path
