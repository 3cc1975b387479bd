"""What all connections from one virtual endpoint to one real server have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders.base import Hop
from lvsd.core.states import Direction
from lvsd.core.stats import Stats
from lvsd.packet.rewrite import compile_steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.service import PathKey, RealServer
    from lvsd.core.states import Protocol
    from lvsd.packet.view import Packet

PATHS_KEPT = 64
"""A real server with more paths than this forgets those that no connection uses."""


class Path:
    """A plan's compiled rewriters, shared: a connection itself stays small.

    ``request`` and ``reply`` take a packet and return its new bytes. ``reply`` is None when
    replies do not pass the director. ``request_states`` and ``reply_states`` are the protocol's
    transitions as this path sees them, ``timeouts`` its seconds per state. ``users`` counts the
    connections.
    """

    __slots__ = (
        "hop",
        "key",
        "protocol",
        "reply",
        "reply_states",
        "request",
        "request_states",
        "server",
        "server_stats",
        "service_stats",
        "timeouts",
        "users",
    )

    def __init__(self, key: PathKey, server: RealServer, protocol: Protocol, hop: Hop) -> None:
        self.key = key
        self.server = server
        self.protocol = protocol
        self.timeouts = protocol.timeouts
        self.hop = hop
        self.users = 0
        self.bind()
        plan = server.forwarder.plan(hop)
        self.request: Callable[[Packet], bytes] = compile_steps(
            plan.request, protocol=protocol.number, destination=(hop.vip, hop.vport)
        )
        self.reply: Callable[[Packet], bytes] | None = None
        if plan.reply is not None:
            self.reply = compile_steps(
                plan.reply, protocol=protocol.number, source=(hop.rip, hop.rport)
            )

        direction = Direction.REQUEST if self.reply else Direction.REQUEST_ONLY
        self.request_states = protocol.next[direction]
        self.reply_states = protocol.next[Direction.REPLY]

    def bind(self) -> None:
        """Count for the server and its service from now on."""
        self.server_stats = self.server.meter.stats
        self.service_stats = self.server.service.meter.stats

    def unbind(self) -> None:
        """Count for nobody: the server was removed."""
        self.server_stats = self.service_stats = Stats()


def path_to(server: RealServer, protocol: Protocol, virtual: tuple[bytes, int], rport: int) -> Path:
    """Return the path from a virtual endpoint to a real server's port, for one more connection.

    It is compiled on first use. Where the port stays as it is, one path serves every port. Each
    is to be given back by `leave`.
    """
    vip, vport = virtual
    if vport == rport:
        key: PathKey = protocol.number, vip, None, None, server.forwarder.name
    else:
        key = protocol.number, vip, vport, rport, server.forwarder.name
    path = server.paths.get(key)
    if path is None:
        hop = Hop(vip, key[2], server.address, key[3])
        path = server.paths[key] = Path(key, server, protocol, hop)
    path.users += 1
    return path


def leave(path: Path) -> None:
    """Give a path back. One without connections is kept for the next, unless there are many.

    A fwmark service has a path per address, or mapped port, that clients think of.
    """
    path.users -= 1
    if not path.users and len(path.server.paths) > PATHS_KEPT:
        del path.server.paths[path.key]
