"""Virtual services and their real servers.

A service belongs to an address, protocol and port, or to a firewall mark. Its list of real
servers is newest first, as the kernel's is, because that order decides ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from forwarders.local import Local
from lvsd.core.evidence import Refusals
from lvsd.core.local_pool import LocalPool
from lvsd.core.shares import Share
from lvsd.core.stats import Meter
from lvsd.core.timeouts import AS_ALL, Timing
from lvsd.core.verdict import Reason
from lvsd.errors import ControlError, PluginError
from lvsd.packet.address import endpoint
from schedulers.base import Server

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core import states
    from schedulers.base import Flow, Scheduler

FTP_PORT = 21
TCP = 6
ANY_MTU = 0xFFFF


class ServiceKey(NamedTuple):
    """What identifies a service: protocol, VIP and port, or a firewall mark and a family.

    ``vip`` is packed (empty for a fwmark service), ``vport`` 0 means any port.
    """

    protocol: int = 0
    vip: bytes = b""
    vport: int = 0
    fwmark: int = 0
    family: int = 4


PathKey: TypeAlias = "tuple[states.Protocol, bytes, int | None, int | None, Forwarder]"
"""Protocol, VIP, vport and rport (None, both: the port stays) and the forwarder."""


class Compiled(Protocol):
    """What is made for the connections to a real server, and changes with it (`lvsd.core.path`).

    ``users`` is how many connections it has, ``way`` how it forwards them.
    """

    users: int

    @property
    def way(self) -> Forwarder: ...  # noqa: D102

    def retime(self) -> None:
        """Take the timeouts as they are now."""

    def compile(self) -> None:
        """Make the rewriters anew; raises what a forwarder raises."""

    def bind(self) -> None:
        """Count for the server and its service from now on."""

    def unbind(self) -> None:
        """Count for nobody."""


class ServerConfiguration(NamedTuple):
    """What the operator says of a real server, beside its endpoint.

    What is known of the way to it, and what is counted of it, is no part of this.
    """

    weight: int
    upper: int
    lower: int
    forwarder: Forwarder


@dataclass(slots=True, eq=False)
class RealServer(Server):
    """A real server of one service: what the scheduler sees, and what the packet path needs.

    ``available`` is True while its service has it; connections may point at it longer. ``noticed``
    says whether `Endings` has seen that it was removed. ``mtu`` is that of the way to it, in bytes,
    ``source`` the packed address of ours that it is reached from (None: there is no way);
    ``is_local`` says that it is the director itself. ``paths`` holds what was compiled for its
    connections, one per virtual endpoint, or per virtual address where the port stays.
    ``templates`` counts persistence templates that point here, ``unanswered`` the clients' SYNs
    that were sent again although replies bypass the director, since a client was last seen to have
    an answer: nobody there seems to give any. ``refusals`` are those that we see, since then.
    """

    forwarder: Forwarder = field(kw_only=True)
    service: Service = field(init=False)
    available: bool = False
    noticed: bool = False
    mtu: int = ANY_MTU
    source: bytes | None = None
    is_local: bool = False
    templates: int = 0
    unanswered: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    meter: Meter = field(default_factory=Meter)
    paths: dict[PathKey, Compiled] = field(default_factory=dict)

    @property
    def way(self) -> Forwarder:
        """The forwarder, or `Local` where the director is the server.

        Only where replies would bypass the director; NAT rewrites for itself as for others.
        """
        return self.way_of(self.forwarder)

    def way_of(self, forwarder: Forwarder) -> Forwarder:
        """Return the way that connections of a forwarder go now."""
        return _LOCAL if self.is_local and forwarder.bypasses else forwarder

    def set_forwarder(self, forwarder: Forwarder) -> None:
        """Forward new connections another way; living ones keep theirs."""
        self.forwarder = forwarder

    def retime(self) -> None:
        """Let connections have the timeouts that there are now, each from its next packet on."""
        for path in self.paths.values():
            path.retime()

    def set_way(self, mtu: int, source: bytes | None, *, is_local: bool) -> None:
        """Note what is known of the way to the server, and let its paths know.

        A path whose forwarder fails at that stays as it was.
        """
        self.mtu = mtu
        moved = (source, is_local) != (self.source, self.is_local)
        self.source = source
        self.is_local = is_local
        if moved:
            for path in self.paths.values():
                try:
                    path.compile()
                except Exception as error:  # noqa: BLE001 - a plug-in's; the other paths go on
                    self.service.fault = error

    @property
    def configuration(self) -> ServerConfiguration:
        """What the operator wants of it."""
        return ServerConfiguration(self.weight, self.upper, self.lower, self.forwarder)

    def configure(self, wanted: ServerConfiguration) -> None:
        """Do as the operator wants from now on; living connections keep their forwarder."""
        self.set_weight(wanted.weight)
        self.set_thresholds(wanted.upper, wanted.lower)
        self.set_forwarder(wanted.forwarder)


_LOCAL = Local()


def server_name(server: Server) -> str:
    """Return a real server's endpoint as people write it."""
    return endpoint(server.address, server.port)


@dataclass(slots=True, eq=False)
class Service:
    """A virtual service.

    ``persistence_s`` 0 means none; ``prefix`` is the persistence netmask's length (None: the
    whole address). ``servers`` are newest first. ``local`` is FULLNAT's pool of local addresses;
    with ``mss_clamp`` the MSS in SYNs is lowered to what fits into a tunnel. ``max_connections``
    bounds its entries in the connection table (0: only the table does), ``share`` counts them.
    ``departed`` keeps removed servers that still have connections: added again, such a server
    comes back with its old counts, and its connections live on. ``was_persistent`` says that it is
    or was persistent: there may be connections to ports that clients chose.
    """

    key: ServiceKey
    scheduler: Scheduler
    name: str = ""
    persistence_s: int = 0
    prefix: int | None = None
    one_packet: bool = False
    mss_clamp: bool = False
    max_connections: int = 0
    local: LocalPool = field(default_factory=LocalPool)
    timing: Timing = AS_ALL
    servers: list[RealServer] = field(default_factory=list)
    departed: dict[tuple[bytes, int], RealServer] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    share: Share = field(default_factory=Share)
    fault: Exception | None = None
    was_persistent: bool = field(init=False)

    def __post_init__(self) -> None:
        self.was_persistent = bool(self.persistence_s)

    @property
    def label(self) -> str:
        """A word for logs: its name; without one its mark or its endpoint."""
        key = self.key
        return self.name or (f"mark {key.fwmark}" if key.fwmark else endpoint(key.vip, key.vport))

    def find(self, address: bytes, port: int) -> RealServer:
        """Return the real server at this endpoint. Raise ControlError if there is none."""
        for server in self.servers:
            if server.address == address and server.port == port:
                return server
        raise ControlError("No such destination")

    def add(self, server: RealServer) -> RealServer:
        """Take in a real server, at the head; return it, or the departed one that came back.

        Raise ControlError if the service has one at that endpoint, PluginError if the scheduler
        fails to take it in; then the service is as it was.
        """
        place = server.address, server.port
        if any((old.address, old.port) == place for old in self.servers):
            raise ControlError("Destination already exists")
        wanted, server = server, self.departed.get(place, server)
        is_another_services = server is not wanted and server.service is not self
        before, last_weight = server.configuration, server.last_weight
        if server is not wanted:
            server.configure(wanted.configuration)
            server.last_weight = wanted.weight
        server.service = self
        server.available = True
        try:
            self.scheduler.add(server)
        except Exception as error:
            server.available = False
            server.configure(before)
            server.last_weight = last_weight
            raise self._failed("take in", server, error) from error
        self.departed.pop(place, None)
        if is_another_services:
            server.meter.zero()
        for path in server.paths.values():
            path.bind()
        self.servers.insert(0, server)
        return server

    def edit_server(self, other: RealServer) -> None:
        """Give the real server at another one's endpoint that one's configuration (ipvsadm -e).

        Raise ControlError if there is none, PluginError if the scheduler fails at it; then nothing
        has changed.
        """
        server = self.find(other.address, other.port)
        before, last_weight = server.configuration, server.last_weight
        server.configure(other.configuration)
        try:
            self.scheduler.edit(server)
        except Exception as error:
            server.configure(before)
            server.last_weight = last_weight
            raise self._failed("notice the change of", server, error) from error

    def remove(self, address: bytes, port: int) -> RealServer:
        """Remove the real server at this endpoint. Raise ControlError if there is none.

        It is gone even if the scheduler fails to let go of it: a pick of it is refused.
        """
        server = self.find(address, port)
        self.servers.remove(server)
        server.available = server.noticed = False
        for path in server.paths.values():
            path.unbind()
        if server.total or server.templates:
            self.departed[address, port] = server
        try:
            self.scheduler.remove(server)
        except Exception as error:  # noqa: BLE001 - a plug-in's; the server is gone all the same
            self.fault = error
        return server

    def _failed(self, at: str, server: RealServer, error: Exception) -> PluginError:
        return PluginError(
            f"scheduler {self.scheduler.name!r} of service {self.name!r} failed to {at} "
            f"{server_name(server)}: {type(error).__name__}: {error}"
        )

    def released(self, server: RealServer) -> None:
        """Forget a departed server once nothing points at it any more."""
        if not (server.available or server.total or server.templates):
            self.departed.pop((server.address, server.port), None)

    def remove_all(self) -> None:
        """Remove every real server, as the removal of the whole service does."""
        for server in list(self.servers):
            self.remove(server.address, server.port)

    def pick(self, flow: Flow, now: float) -> RealServer | Reason:
        """Ask the scheduler which real server takes a new connection; return why none does, if so.

        A scheduler that raises, or picks a server that is not among this service's, is at fault.
        """
        try:
            server = self.scheduler.pick(flow, now)
        except Exception as error:  # noqa: BLE001 - a plug-in's; it costs this connection
            self.fault = error
            return Reason.PLUGIN_FAULT
        if server is None:
            return Reason.NO_SERVER
        if isinstance(server, RealServer) and server.available and server.service is self:
            return server
        name = server_name(server) if isinstance(server, Server) else repr(server)
        self.fault = PluginError(
            f"scheduler {self.scheduler.name!r} of service {self.name!r} picked {name}, "
            "which is none of the service's real servers"
        )
        return Reason.PLUGIN_FAULT

    def changed(self, server: RealServer) -> None:
        """Tell the scheduler of a server's new counts, unless the server was removed."""
        if server.available:
            try:
                self.scheduler.changed(server)
            except Exception as error:  # noqa: BLE001 - a plug-in's; it must not stop what goes on
                self.fault = error

    def tick(self, now: float) -> None:
        """Let the scheduler do its periodic work."""
        try:
            self.scheduler.tick(now)
        except Exception as error:  # noqa: BLE001 - a plug-in's; the other services go on
            self.fault = error

    def edit(self, other: Service) -> None:
        """Take over another one's configuration (ipvsadm -E), all but its key.

        The same scheduler goes on where it is. Raise PluginError if another one fails at the
        start; then nothing has changed.
        """
        present, wanted = self.scheduler, other.scheduler
        if (present.name, present.flags) != (wanted.name, wanted.flags):
            self.set_scheduler(wanted)
        self.name = other.name
        self.persistence_s = other.persistence_s
        self.was_persistent |= bool(other.persistence_s)
        self.prefix = other.prefix
        self.one_packet = other.one_packet
        self.mss_clamp = other.mss_clamp
        self.max_connections = other.max_connections
        self.local.configure(other.local)
        self.timing = other.timing
        for server in self.servers:
            server.retime()

    def set_scheduler(self, scheduler: Scheduler) -> None:
        """Schedule with another algorithm from now on, starting from the present servers.

        Raise PluginError if it fails to take them over; then the present one goes on.
        """
        try:
            scheduler.start(self.servers)
        except Exception as error:
            raise PluginError(
                f"scheduler {scheduler.name!r} failed to take over service {self.name!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        self.scheduler = scheduler
