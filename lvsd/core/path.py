"""What all connections from one virtual endpoint to one real server have in common."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from forwarders.base import Ends
from forwarders.plan import Deliver, Encapsulate, NextHop, Plan
from lvsd.core.states import Direction
from lvsd.core.stats import Stats
from lvsd.packet.rewrite import compile_steps, one_hop_on
from lvsd.packet.tunnel import Tunnel, compile_tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarders.base import Forwarder
    from lvsd.core.service import PathKey, RealServer
    from lvsd.core.states import Protocol
    from lvsd.packet.translator import Translator
    from lvsd.packet.view import Packet

PATHS_KEPT = 64
"""A real server with more paths than this forgets those that no connection uses."""


class Exit(Enum):
    """How requests leave the director."""

    VERDICT = "as the queue's verdict: the kernel forwards it"
    FRAME = "as a frame to a neighbour"
    TUNNEL = "inside another packet, by a socket"
    TRANSLATED = "with both ends changed, by a socket"
    HOST = "not at all: the host itself has it"


class Path:
    """A plan's compiled rewriters, shared: a connection itself stays small.

    ``exit`` says how requests leave. ``request`` and ``reply`` take a packet and return its new
    bytes; ``reply`` is None when replies do not pass the director. ``tunnel`` wraps requests
    instead, ``overhead`` is what that adds, in bytes. Where plans name the client (FULLNAT),
    ``translator``, made of the first connection's plan, makes a `Translation` for each.

    ``request_states`` and ``reply_states`` are the protocol's transitions as this path sees them,
    ``timeouts`` its seconds per state. ``users`` counts the connections.
    """

    __slots__ = (
        "ends",
        "exit",
        "key",
        "overhead",
        "protocol",
        "reply",
        "reply_states",
        "request",
        "request_states",
        "server",
        "server_stats",
        "service_stats",
        "timeouts",
        "translator",
        "tunnel",
        "users",
    )

    def __init__(self, key: PathKey, server: RealServer, protocol: Protocol, ends: Ends) -> None:
        self.key = key
        self.server = server
        self.protocol = protocol
        self.retime()
        self.ends = ends
        self.users = 0
        self.exit = Exit.TRANSLATED
        self.overhead = 0
        self.tunnel: Tunnel | None = None
        self.translator: Translator | None = None
        self.request: Callable[[Packet], bytes] = one_hop_on
        self.reply: Callable[[Packet], bytes] | None = None
        self.bind()
        self.compile()
        bypasses = key[-1].bypasses
        self.request_states = protocol.next[
            Direction.REQUEST_ONLY if bypasses else Direction.REQUEST
        ]
        self.reply_states = protocol.next[Direction.REPLY]

    def __repr__(self) -> str:
        if self.forwarder.per_connection:
            return f"Path({self.forwarder!r})"
        return f"Path({self.shared_plan()})"

    @property
    def forwarder(self) -> Forwarder:
        """How its connections are forwarded: by `Local` while the director is the server."""
        return self.server.as_forwarded(self.key[-1])

    def compile(self) -> None:
        """Make the rewriters of the plan as it is now.

        Where a tunnel begins may change, and whether the director is the server. Without an address
        of ours to begin at, or where the forwarder raises something, everything stays as it was.
        """
        forwarder = self.forwarder
        if forwarder.per_connection or (forwarder.needs_source and self.server.way.source is None):
            return
        plan = self.shared_plan()
        overhead, tunnel = 0, None
        match plan.request:
            case (NextHop(),):
                exit_ = Exit.FRAME
            case (Encapsulate() as step,):
                exit_ = Exit.TUNNEL
                tunnel = compile_tunnel(step)
                overhead = tunnel.overhead
            case (Deliver(),):
                exit_ = Exit.HOST
            case _:
                exit_ = Exit.VERDICT
                self._compile_rewriters(plan)
        self.exit, self.overhead = exit_, overhead
        self.tunnel = tunnel or self.tunnel

    def _compile_rewriters(self, plan: Plan) -> None:
        ends, number = self.ends, self.protocol.number
        request = compile_steps(plan.request, protocol=number, destination=(ends.vip, ends.vport))
        if plan.reply is not None:
            self.reply = compile_steps(plan.reply, protocol=number, source=(ends.rip, ends.rport))
        self.request = request

    def shared_plan(self) -> Plan:
        """Return what happens to the packets of all its connections, where it is the same."""
        ends, source, forwarder = self.ends, self.server.way.source, self.forwarder
        if forwarder.needs_source and source is not None:
            ends = Ends(ends.vip, ends.vport, ends.rip, ends.rport, local=(source, 0))
        return forwarder.plan(ends)

    def retime(self) -> None:
        """Take the timeouts as the protocol and the service have them now."""
        self.timeouts = self.server.service.config.timing.seconds(self.protocol)

    def count_in(self, size: int) -> None:
        """Count a packet of so many bytes towards the server."""
        stats = self.server_stats
        stats.in_packets += 1
        stats.in_bytes += size
        stats = self.service_stats
        stats.in_packets += 1
        stats.in_bytes += size

    def count_out(self, size: int) -> None:
        """Count a packet of so many bytes towards the client."""
        for stats in (self.server_stats, self.service_stats):
            stats.out_packets += 1
            stats.out_bytes += size

    def bind(self) -> None:
        """Count for the server and its service from now on."""
        self.server_stats = self.server.meter.stats
        self.service_stats = self.server.service.meter.stats

    def unbind(self) -> None:
        """Count for nobody: the server was removed."""
        self.server_stats = self.service_stats = Stats()


def path_to(
    server: RealServer,
    protocol: Protocol,
    virtual: tuple[bytes, int],
    rport: int,
    forwarder: Forwarder | None = None,
) -> Path:
    """Return the path from a virtual endpoint to a real server's port, for one more connection.

    It goes the server's way, or that of ``forwarder``. It is compiled on first use. Where the
    port stays as it is, one path serves every port. Each is to be given back by `leave`.
    """
    vip, vport = virtual
    forwarder = forwarder or server.config.forwarder
    if vport == rport or not forwarder.maps_port:
        key: PathKey = protocol, vip, None, None, forwarder
    else:
        key = protocol, vip, vport, rport, forwarder
    path: Path | None = server.paths.get(key)  # type: ignore[assignment]  # nothing else is there
    if path is None:
        ends = Ends(vip, key[2], server.address, key[3])
        path = server.paths[key] = Path(key, server, protocol, ends)
    path.users += 1
    return path


def leave(path: Path) -> None:
    """Give a path back. One without connections is kept for the next, unless there are many.

    A fwmark service has a path per address, or mapped port, that clients think of.
    """
    path.users -= 1
    if not path.users and len(path.server.paths) > PATHS_KEPT:
        del path.server.paths[path.key]


def has_way(server: RealServer) -> bool:
    """Whether packets can be sent to a real server: some ways begin at one of our addresses."""
    if server.way.source is not None:
        return True
    return not (server.config.forwarder.per_connection or server.effective_forwarder.needs_source)
