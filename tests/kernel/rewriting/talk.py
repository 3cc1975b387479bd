"""What cases of rewriting are made of: sites, and one client's talk with one of them.

A case is a scenario with services, then packets. Each has a client's port of its own, since lvsd
keeps the connections of all of them at once (`tests.kernel.rewriting.daemon`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tests.kernel import packets, rig
from tests.kernel.scenario import (
    SCTP,
    TCP,
    UDP,
    Change,
    Mtu,
    Operation,
    RealServer,
    Scenario,
    Send,
    Side,
    VirtualService,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOLS = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
VERSIONS = 4, 6
VPORT, RPORT = 80, 8080
GUE_PORT = 6080

INIT, INIT_ACK, DATA = 1, 2, 0
"""Chunks of SCTP."""

_ports = itertools.count(1025)


class Case(NamedTuple):
    """A scenario, and the row of the conformance table that it counts for."""

    feature: str
    scenario: Scenario


@dataclass(frozen=True)
class Site:
    """A virtual service with at most one real server."""

    service: VirtualService
    server: RealServer | None = None

    @property
    def protocol(self) -> int:
        """The service's protocol."""
        return self.service.protocol

    @property
    def vip(self) -> str:
        """The virtual address."""
        assert self.service.address is not None
        return self.service.address

    @property
    def version(self) -> int:
        """The client's IP version."""
        return 6 if ":" in self.vip else 4

    @property
    def rip(self) -> str:
        """The real server's address."""
        assert self.server is not None
        return self.server.address

    @property
    def rport(self) -> int:
        """The real server's port."""
        assert self.server is not None
        return self.server.port

    @property
    def setup(self) -> tuple[Operation, ...]:
        """What an operator does for it."""
        add = Change("add", self.service)
        return (add,) if self.server is None else (add, Change("add", self.service, self.server))


def vip(number: int, version: int) -> str:
    """Return a virtual address."""
    return f"192.0.2.{number}" if version == 4 else f"2001:db8:f::{number}"


def nat(version: int, protocol: int, *, number: int = 1, rport: int = RPORT) -> Site:
    """Return a site in NAT; ``number`` is the real server's, and tells one site from another."""
    service = VirtualService(vip(number, version), VPORT, protocol, scheduler="rr")
    return Site(service, RealServer(rig.server_address(number, version), rport, "nat"))


def dr(version: int, protocol: int, *, number: int = 20) -> Site:
    """Return a site in DR."""
    service = VirtualService(vip(number, version), VPORT, protocol, scheduler="rr")
    return Site(service, RealServer(rig.server_address(number, version), VPORT, "dr"))


@dataclass(frozen=True)
class Tunnel:
    """A way into a tunnel; ``outer`` is the IP version of its packets."""

    kind: Literal["ipip", "gue", "gre"]
    checksum: bool
    outer: int

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{self.kind}{' with checksum' if self.checksum else ''} over IPv{self.outer}"

    @property
    def number(self) -> int:
        """One that no other tunnel has."""
        return 2 * KINDS.index((self.kind, self.checksum)) + (self.outer == 6)


KINDS: tuple[tuple[Literal["ipip", "gue", "gre"], bool], ...] = (
    ("ipip", False),
    ("gue", False),
    ("gue", True),
    ("gre", False),
    ("gre", True),
)
TUNNELS = tuple(Tunnel(*kind, outer) for kind in KINDS for outer in VERSIONS)


def tun(version: int, protocol: int, tunnel: Tunnel, *, series: int = 0) -> Site:
    """Return a site in TUN; each has a real server of its own.

    Sites of another ``series`` have others; those of odd ones are behind the router.
    """
    number = 10 * series + tunnel.number
    service = VirtualService(vip(100 + number, version), VPORT, protocol, scheduler="rr")
    if series % 2:
        address = f"172.16.0.{number}" if tunnel.outer == 4 else f"2001:db8:3::{number:x}"
    else:
        address = rig.server_address(30 + number, tunnel.outer)
    server = RealServer(
        address,
        VPORT,
        "tun",
        tunnel=tunnel.kind,
        tunnel_port=GUE_PORT if tunnel.kind == "gue" else 0,
        tunnel_checksum=tunnel.checksum,
    )
    return Site(service, server)


def nobody(version: int, protocol: int) -> Site:
    """Return a site without real servers."""
    return Site(VirtualService(vip(70, version), VPORT, protocol, scheduler="rr"))


# --- packets of one client -------------------------------------------------------------------


@dataclass
class Talk:
    """What a client and a real server say to each other, packet by packet.

    ``options`` of `tests.kernel.packets` may go with each packet: a TTL, say.
    """

    site: Site
    client: str = ""
    port: int = field(default_factory=lambda: next(_ports))
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.client:
            self.client = "203.0.113.7" if self.site.version == 4 else "2001:db8:c::7"

    def packet(
        self, source: str, sport: int, destination: str, dport: int, payload: bytes, **options: Any
    ) -> bytes:
        """Return a packet of the site's protocol; TCP's has the flag ACK."""
        ends = source, sport, destination, dport
        match self.site.protocol:
            case packets.TCP:
                return packets.tcp(*ends, "A", payload, **options)
            case packets.SCTP:
                chunk = packets.chunk(DATA, bytes(12) + payload, 3)
                return packets.sctp(*ends, chunk, **options)
        return packets.udp(*ends, payload, **options)

    def request(self, payload: bytes = b"request", **options: Any) -> bytes:
        """Return a packet as the client sends it."""
        site = self.site
        ends = self.client, self.port, site.vip, site.service.port
        return self.packet(*ends, payload, **options)

    def forwarded(self, payload: bytes = b"request", **options: Any) -> bytes:
        """Return a request as NAT's real server gets it, but for the TTL."""
        ends = self.client, self.port, self.site.rip, self.site.rport
        return self.packet(*ends, payload, **options)

    def reply(self, payload: bytes = b"the reply", **options: Any) -> bytes:
        """Return a packet as NAT's real server sends it."""
        ends = self.site.rip, self.site.rport, self.client, self.port
        return self.packet(*ends, payload, **options)

    def returned(self, payload: bytes = b"the reply", **options: Any) -> bytes:
        """Return a reply as the client gets it, but for the TTL."""
        site = self.site
        ends = site.vip, site.service.port, self.client, self.port
        return self.packet(*ends, payload, **options)

    def opening(self, **options: Any) -> bytes:
        """Return the first packet of a connection."""
        site = self.site
        ends = self.client, self.port, site.vip, site.service.port
        match site.protocol:
            case packets.TCP:
                return packets.tcp(*ends, "S", **options)
            case packets.SCTP:
                return packets.sctp(*ends, packets.chunk(INIT, bytes(16)), **options)
        return self.request(**options)

    def open(self) -> Talk:
        """Let the connection be there."""
        return self.say(self.opening())

    def say(self, *data: bytes) -> Talk:
        """Let packets come from the client's side."""
        self.operations += [Send(Side.CLIENT, each) for each in data]
        return self

    def answer(self, *data: bytes) -> Talk:
        """Let packets come from the real servers' side."""
        self.operations += [Send(Side.SERVER, each) for each in data]
        return self

    def case(self, feature: str, name: str, mtus: Iterable[Mtu] = ()) -> Case:
        """Return all this as a case, with other MTUs from the beginning on."""
        site = self.site
        title = f"{feature}, {PROTOCOLS[site.protocol]} over IPv{site.version}, {name}"
        operations = (*site.setup, *mtus, *self.operations)
        return Case(f"rewriting: {feature}", Scenario(title, operations))
