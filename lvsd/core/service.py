"""Virtual services and their real servers.

A service belongs to an address, protocol and port, or to a firewall mark. Its list of real
servers is newest first, as the kernel's is, because that order decides ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from forwarders.local import Local
from lvsd.core.local_ports import LocalPool
from lvsd.core.stats import Meter
from lvsd.errors import ControlError
from schedulers.base import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forwarders.base import Forwarder
    from lvsd.core.path import Path
    from schedulers.base import Scheduler

FTP_PORT = 21
FTP_DATA_PORT = 20
UNPRIVILEGED_PORT_START = 1024
TCP = 6
UDP = 17
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


PathKey: TypeAlias = "tuple[int, bytes, int | None, int | None, Forwarder]"
"""Protocol, VIP, vport and rport (None, both: the port stays) and the forwarder."""


@dataclass(slots=True, eq=False)
class RealServer(Server):
    """A real server of one service: what the scheduler sees, and what the packet path needs.

    ``available`` is False once it was removed while connections still point at it, ``noticed``
    whether `Endings` has seen that. ``mtu`` is that of the way to it, in bytes, ``source`` the
    packed address of ours that it is reached from (None: there is no way); ``is_local`` says that
    it is the director itself. ``paths`` holds what was compiled for its connections, one per
    virtual endpoint, or per virtual address where the port stays. ``templates`` counts
    persistence templates that point here, ``unanswered`` the clients' SYNs that were sent again
    although replies bypass the director, since a client was last seen to have an answer: nobody
    there seems to give any.
    """

    forwarder: Forwarder = field(kw_only=True)
    service: Service = field(init=False)
    available: bool = True
    noticed: bool = False
    mtu: int = ANY_MTU
    source: bytes | None = None
    is_local: bool = False
    templates: int = 0
    unanswered: int = 0
    meter: Meter = field(default_factory=Meter)
    paths: dict[PathKey, Path] = field(default_factory=dict)

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

    def set_way(self, mtu: int, source: bytes | None, *, is_local: bool) -> None:
        """Note what is known of the way to the server, and let its paths know."""
        self.mtu = mtu
        moved = (source, is_local) != (self.source, self.is_local)
        self.source = source
        self.is_local = is_local
        if moved:
            for path in self.paths.values():
                path.compile()

    def configure(self, other: RealServer) -> None:
        """Take over another one's configuration, and what is known of the way to it."""
        self.set_weight(other.weight)
        self.set_thresholds(other.upper, other.lower)
        self.set_forwarder(other.forwarder)
        self.set_way(other.mtu, other.source, is_local=other.is_local)

    def revive(self, other: RealServer) -> None:
        """Come back after a removal, with the old counts and another one's configuration."""
        self.available = True
        self.last_weight = other.weight
        self.configure(other)


_LOCAL = Local()


@dataclass(slots=True, eq=False)
class Service:
    """A virtual service.

    ``persistence_s`` 0 means none; ``prefix`` is the persistence netmask's length (None: the
    whole address). ``servers`` are newest first. ``local`` is FULLNAT's pool of local addresses;
    with ``mss_clamp`` the MSS in SYNs is lowered to what fits into a tunnel. ``departed`` keeps
    removed servers that still have connections: added again, such a server comes back with its
    old counts, and its connections live on.
    """

    key: ServiceKey
    scheduler: Scheduler
    name: str = ""
    persistence_s: int = 0
    prefix: int | None = None
    one_packet: bool = False
    mss_clamp: bool = False
    local: LocalPool = field(default_factory=LocalPool)
    servers: list[RealServer] = field(default_factory=list)
    departed: dict[tuple[bytes, int], RealServer] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    fault: Exception | None = None

    def find(self, address: bytes, port: int) -> RealServer:
        """Return the real server at this endpoint. Raise ControlError if there is none."""
        for server in self.servers:
            if server.address == address and server.port == port:
                return server
        raise ControlError("No such destination")

    def add(self, server: RealServer) -> RealServer:
        """Take in a real server, at the head; return it, or the departed one that came back.

        Raise ControlError if the service has one at that endpoint.
        """
        endpoint = server.address, server.port
        if any((old.address, old.port) == endpoint for old in self.servers):
            raise ControlError("Destination already exists")
        departed = self.departed.pop(endpoint, None)
        if departed is not None:
            departed.revive(server)
            if departed.service is not self:
                departed.meter.zero()
            server = departed
        server.service = self
        for path in server.paths.values():
            path.bind()
        self.servers.insert(0, server)
        self.scheduler.add(server)
        return server

    def edit_server(self, other: RealServer) -> None:
        """Give the real server at another one's endpoint that one's configuration (ipvsadm -e).

        Raise ControlError if there is none.
        """
        server = self.find(other.address, other.port)
        server.configure(other)
        self.scheduler.edit(server)

    def remove(self, address: bytes, port: int) -> RealServer:
        """Remove the real server at this endpoint. Raise ControlError if there is none."""
        server = self.find(address, port)
        self.servers.remove(server)
        server.available = server.noticed = False
        self.scheduler.remove(server)
        for path in server.paths.values():
            path.unbind()
        if server.total or server.templates:
            self.departed[address, port] = server
        return server

    def released(self, server: RealServer) -> None:
        """Forget a departed server once nothing points at it any more."""
        if not (server.available or server.total or server.templates):
            self.departed.pop((server.address, server.port), None)

    def remove_all(self) -> None:
        """Remove every real server, as the removal of the whole service does."""
        for server in list(self.servers):
            self.remove(server.address, server.port)

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
        """Schedule and keep clients as another one is set to (ipvsadm -E).

        The same scheduler goes on where it is.
        """
        present, wanted = self.scheduler, other.scheduler
        if (present.name, present.flags) != (wanted.name, wanted.flags):
            self.set_scheduler(wanted)
        self.persistence_s = other.persistence_s
        self.prefix = other.prefix
        self.one_packet = other.one_packet

    def set_scheduler(self, scheduler: Scheduler) -> None:
        """Schedule with another algorithm from now on, starting from the present servers."""
        scheduler.start(self.servers)
        self.scheduler = scheduler


class ServiceTable:
    """All virtual services, and the kernel's order of looking one up.

    ``vips`` has the virtual addresses, packed, with the number of services at each.
    """

    __slots__ = ("_any_port", "_departed", "_endpoints", "_ftp", "_marks", "vips")

    def __init__(self) -> None:
        self.vips: dict[bytes, int] = {}
        self._endpoints: dict[tuple[int, bytes, int], Service] = {}
        self._marks: dict[tuple[int, int], Service] = {}
        self._departed: dict[ServiceKey, dict[tuple[bytes, int], RealServer]] = {}
        self._any_port = 0
        self._ftp = 0

    def __iter__(self) -> Iterator[Service]:
        yield from self._endpoints.values()
        yield from self._marks.values()

    def __len__(self) -> int:
        return len(self._endpoints) + len(self._marks)

    def departed(self) -> Iterator[RealServer]:
        """Yield the removed servers that still have connections, those of removed services too."""
        for service in self:
            yield from service.departed.values()
        for kept in self._departed.values():
            yield from kept.values()

    def get(self, key: ServiceKey) -> Service:
        """Return the service with this key. Raise ControlError if there is none."""
        service = (
            self._marks.get((key.fwmark, key.family))
            if key.fwmark
            else self._endpoints.get((key.protocol, key.vip, key.vport))
        )
        if service is None:
            raise ControlError("No such service")
        return service

    def add(self, service: Service) -> None:
        """Take in a service, with the servers that an earlier one of the same key left.

        Raise ControlError if its key is taken.
        """
        self._insert(service)
        service.departed = self._departed.pop(service.key, {})

    def _insert(self, service: Service) -> None:
        key = service.key
        if key.fwmark:
            if (key.fwmark, key.family) in self._marks:
                raise ControlError("Service already exists")
            self._marks[key.fwmark, key.family] = service
            return
        endpoint = key.protocol, key.vip, key.vport
        if endpoint in self._endpoints:
            raise ControlError("Service already exists")
        self._endpoints[endpoint] = service
        self._count(key, 1)

    def remove(self, key: ServiceKey) -> Service:
        """Remove and return the service with this key. Raise ControlError if there is none."""
        service = self.get(key)
        if key.fwmark:
            del self._marks[key.fwmark, key.family]
        else:
            del self._endpoints[key.protocol, key.vip, key.vport]
            self._count(key, -1)
        service.remove_all()
        self._departed = {key: kept for key, kept in self._departed.items() if kept}
        if service.departed:
            self._departed[service.key] = service.departed
        return service

    def _count(self, key: ServiceKey, change: int) -> None:
        self._any_port += change * (key.vport == 0)
        self._ftp += change * (key.protocol == TCP and key.vport == FTP_PORT)
        self.vips[key.vip] = self.vips.get(key.vip, 0) + change
        if not self.vips[key.vip]:
            del self.vips[key.vip]

    def has_mark(self, fwmark: int, family: int) -> bool:
        """Whether there is a service of this firewall mark, 0 being none, in a family, 4 or 6."""
        return (fwmark, family) in self._marks

    def lookup(self, protocol: int, vip: bytes, vport: int, fwmark: int) -> Service | None:
        """Return the service for a packet: by mark, endpoint, the VIP's FTP, the VIP's port 0.

        Source: ip_vs_service_find.
        """
        if fwmark:
            service = self._marks.get((fwmark, 4 if len(vip) == 4 else 6))
            if service is not None:
                return service
        endpoints = self._endpoints
        service = endpoints.get((protocol, vip, vport))
        if service is not None:
            return service
        if (
            self._ftp
            and protocol == TCP
            and (vport == FTP_DATA_PORT or vport >= UNPRIVILEGED_PORT_START)
        ):
            service = endpoints.get((TCP, vip, FTP_PORT))
            if service is not None:
                return service
        if self._any_port:
            return endpoints.get((protocol, vip, 0))
        return None
