"""A small world around a director: clients, virtual services, real servers, and a clock.

Packets are built by scapy, so that what the director returns can be compared, to the byte, with
what somebody else would have sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from forwarders import Nat
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import (
    AddServer,
    AddService,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    SetTimeouts,
)
from lvsd.core.sequence_numbers import NEW, Origin
from lvsd.core.settings import Settings
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.verdict import Departure, Hook, Verdict
from lvsd.packet.address import pack
from lvsd.packet.build import ip_packet, tcp_segment
from lvsd.packet.numbers import TcpFlag
from lvsd.packet.view import Packet
from schedulers.base import Flow, Scheduler, Server

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.commands import Changes, Command
    from lvsd.core.service import RealServer, Service

NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
CHECKSUM_AT = {"tcp": 16, "udp": 6}
"""Where the transport header has its checksum."""

CHUNKS = {
    "DATA": 0,
    "INIT": 1,
    "INIT_ACK": 2,
    "SACK": 3,
    "HEARTBEAT": 4,
    "HEARTBEAT_ACK": 5,
    "ABORT": 6,
    "SHUTDOWN": 7,
    "SHUTDOWN_ACK": 8,
    "ERROR": 9,
    "COOKIE_ECHO": 10,
    "COOKIE_ACK": 11,
    "SHUTDOWN_COMPLETE": 14,
}
OPENING = {"tcp": "S", "udp": "", "sctp": "INIT"}
"""What a connection begins with."""

ETHERNET = 2
"""The interface that packets come in by; its MTU is 1500."""


@dataclass(frozen=True)
class Segment:
    """A packet as a test thinks of it. Addresses as text.

    ``what`` is TCP's flags in scapy's letters, or SCTP's chunks by name, joined by ``+``.
    """

    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    what: str = ""
    payload: bytes = b""
    ttl: int = 64
    dont_fragment: bool = True

    @property
    def reversed(self) -> Segment:
        """The same the other way round."""
        return replace(
            self,
            source=self.destination,
            source_port=self.destination_port,
            destination=self.source,
            destination_port=self.source_port,
        )


@lru_cache(maxsize=100_000)
def raw(segment: Segment) -> bytes:
    """Return the packet's bytes as scapy builds them.

    Scapy builds those that differ in nothing but the client's port once.
    """
    if segment.protocol == "sctp":
        return written(segment)
    packet = bytearray(written(replace(segment, source_port=0)))
    start = 20 if packet[0] >> 4 == 4 else 40
    packet[start : start + 2] = segment.source_port.to_bytes(2, "big")
    at = start + CHECKSUM_AT[segment.protocol]
    # RFC 1624: a sum of port 0 differs from the wanted one by the port alone.
    total = (int.from_bytes(packet[at : at + 2], "big") ^ 0xFFFF) + segment.source_port
    total = (total & 0xFFFF) + (total >> 16) ^ 0xFFFF
    if segment.protocol == "udp":
        total = total or 0xFFFF
    packet[at : at + 2] = total.to_bytes(2, "big")
    return bytes(packet)


@lru_cache(maxsize=10_000)
def written(segment: Segment) -> bytes:
    """Return the packet's bytes by scapy alone, which takes a millisecond."""
    return bytes(_layers(segment))


def _layers(segment: Segment) -> Any:
    ports = {"sport": segment.source_port, "dport": segment.destination_port}
    if segment.protocol == "tcp":
        transport = TCP(**ports, flags=segment.what, seq=1000, ack=2000) / segment.payload
    elif segment.protocol == "udp":
        transport = UDP(**ports) / Raw(segment.payload or b"datagram")
    else:
        chunks = b"".join(
            bytes((CHUNKS[name], 0, 0, 4)) for name in segment.what.split("+") if name
        )
        transport = SCTP(**ports, tag=7) / Raw(chunks + segment.payload)
    if ":" in segment.source:
        header = IPv6(src=segment.source, dst=segment.destination, hlim=segment.ttl)
        header.nh = NUMBERS[segment.protocol]
    else:
        flags = "DF" if segment.dont_fragment else ""
        header = IP(src=segment.source, dst=segment.destination, ttl=segment.ttl, flags=flags)
        header.proto = NUMBERS[segment.protocol]
    return header / transport


ICMP_ERRORS = {
    "unreachable": (ICMP(type=3, code=1), ICMPv6DestUnreach(code=3)),
    "port unreachable": (ICMP(type=3, code=3), ICMPv6DestUnreach(code=4)),
    "too big": (ICMP(type=3, code=4, nexthopmtu=1400), ICMPv6PacketTooBig(mtu=1400)),
    "time exceeded": (ICMP(type=11), ICMPv6TimeExceeded()),
}


def icmp_error(
    kind: str, source: str, destination: str, about: Segment, *, quoted: int | None = None
) -> bytes:
    """Return an ICMP error from ``source``, quoting a packet, or its first ``quoted`` bytes."""
    for_ipv4, for_ipv6 = ICMP_ERRORS[kind]
    quote = Raw(raw(about)[:quoted])
    if ":" in source:
        return bytes(IPv6(src=source, dst=destination) / for_ipv6 / quote)
    return bytes(IP(src=source, dst=destination) / for_ipv4 / quote)


class FirstAdded(Scheduler):
    """Picks the oldest server of a weight above 0 that is not overloaded; notes what it is told."""

    name = "first"

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[Server] = []
        self.told: list[Server] = []
        self.flows: list[Flow] = []

    def add(self, server: Server) -> None:
        """Take in a server."""
        self.servers.append(server)

    def remove(self, server: Server) -> None:
        """Let go of a server."""
        self.servers.remove(server)

    def changed(self, server: Server) -> None:
        """Note a server's new counts."""
        self.told.append(server)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - it only notes
        """Return the first server that may be used."""
        self.flows.append(flow)
        usable = (each for each in self.servers if each.weight and not each.overloaded)
        return next(usable, None)


@dataclass
class World:
    """A director, whose clock stands still unless a test moves it.

    Clients, VIPs and real servers are numbered; their addresses are of the world's IP version.
    """

    version: int = 4
    settings: Settings = field(default_factory=Settings)
    now: float = 1000.0
    origin: Origin = NEW
    given: dict[str, Scheduler] = field(default_factory=dict)
    """Schedulers that tests have made themselves, until a service has them."""
    balancer: Balancer = field(init=False)
    source: str = field(init=False)
    """The director's address towards the real servers."""

    def __post_init__(self) -> None:
        self.balancer = Balancer(
            self.make_scheduler, self.settings, now=self.now, origin=self.origin
        )
        self.balancer.network.link_mtus[ETHERNET] = 1500
        self.source = "10.0.0.254" if self.version == 4 else "fd00::fe"

    def client(self, number: int = 1) -> str:
        """Return the address of a client."""
        return f"198.51.100.{number}" if self.version == 4 else f"2001:db8:c::{number:x}"

    def vip(self, number: int = 1) -> str:
        """Return a virtual address."""
        return f"192.0.2.{number}" if self.version == 4 else f"2001:db8:f::{number:x}"

    def rip(self, number: int = 1) -> str:
        """Return the address of a real server."""
        return f"10.0.0.{number}" if self.version == 4 else f"fd00::{number:x}"

    # --- the operator -----------------------------------------------------------------------

    def serve(
        self,
        protocol: str = "tcp",
        vport: int = 80,
        *,
        vip: int = 1,
        servers: int = 1,
        rport: int = 8080,
        fwmark: int = 0,
        persistence_s: int = 0,
        prefix: int | None = None,
        one_packet: bool = False,
        scheduler: str | Scheduler = "rr",
        forwarder: Forwarder = Nat(),  # noqa: B008 - a frozen value
        **options: Any,
    ) -> Service:
        """Add a virtual service with so many real servers, all of weight 1.

        Where the forwarder maps no port, the real servers have the virtual one. ``options`` are
        for `ServiceConfig`.
        """
        if fwmark:
            key = ServiceKey(fwmark=fwmark, family=self.version)
        else:
            key = ServiceKey(NUMBERS[protocol], pack(self.vip(vip)), vport, family=self.version)
        if not isinstance(scheduler, str):
            self.given[scheduler.name] = scheduler
            scheduler = scheduler.name
        wanted = ServiceConfig(
            key,
            scheduler,
            persistence_s=persistence_s,
            prefix=prefix,
            one_packet=one_packet,
            **options,
        )
        self.apply(AddService(wanted))
        service = self.balancer.services.get(key)
        for number in range(1, servers + 1):
            self.add_server(service, number, rport, forwarder=forwarder)
        return service

    def add_server(
        self,
        service: Service,
        number: int = 1,
        rport: int = 8080,
        *,
        weight: int = 1,
        forwarder: Forwarder = Nat(),  # noqa: B008 - a frozen value
        **options: Any,
    ) -> RealServer:
        """Add a real server to a service; return it, or the removed one that came back.

        ``options`` are for `ServerConfig`.
        """
        port = rport if forwarder.maps_port else service.key.vport
        wanted = ServerConfig(pack(self.rip(number)), port, forwarder, weight, **options)
        self.apply(AddServer(service.key, wanted))
        added = service.find(*wanted.place)
        if added.way.source is None:
            added.set_way(Way(1500, pack(self.source)))
        self.balancer.strays.learn()
        return added

    def remove_server(self, service: Service, number: int = 1, rport: int = 8080) -> RealServer:
        """Remove a real server from a service."""
        address = pack(self.rip(number))
        present = [each for each in service.servers if each.config.place == (address, rport)]
        self.apply(RemoveServer(service.key, address, rport))
        return present[0]

    def edit_server(self, server: RealServer, **options: Any) -> None:
        """Let some of what is wanted of a real server be otherwise."""
        self.apply(EditServer(server.service.key, replace(server.config, **options)))

    def edit(self, service: Service, **options: Any) -> None:
        """Let some of what is wanted of a service be otherwise."""
        self.apply(EditService(replace(service.config, **options)))

    def remove(self, service: Service) -> None:
        """Remove a service."""
        self.apply(RemoveService(service.key))

    def set_timeouts(self, tcp_s: int = 0, tcp_fin_s: int = 0, udp_s: int = 0) -> None:
        """Change the timeouts of all services."""
        self.apply(SetTimeouts(tcp_s, tcp_fin_s, udp_s))

    def apply(self, *commands: Command) -> Changes:
        """Hand commands to the director."""
        return self.balancer.apply(commands, self.now)

    def make_scheduler(self, name: str, flags: frozenset[str]) -> Scheduler:
        """Return the scheduler that a test has given for this name, or a registered one."""
        given = self.given.pop(name, None)
        return make_scheduler(name, flags) if given is None else given

    # --- packets ----------------------------------------------------------------------------

    def from_client(
        self,
        what: str | None = None,
        *,
        protocol: str = "tcp",
        client: int = 1,
        cport: int = 40000,
        vip: int = 1,
        vport: int = 80,
    ) -> Segment:
        """Return a client's packet to a virtual service; by default one that opens."""
        return Segment(
            protocol,
            self.client(client),
            cport,
            self.vip(vip),
            vport,
            OPENING[protocol] if what is None else what,
        )

    def handle(
        self, segment: Segment | bytes, *, hook: Hook = Hook.PREROUTING, mark: int = 0
    ) -> bytes | Verdict:
        """Hand a packet to the director."""
        data = segment if isinstance(segment, bytes) else raw(segment)
        return self.balancer.handle(data, hook, mark, ETHERNET, self.now)

    def reply(self, segment: Segment | bytes) -> bytes | Verdict:
        """Hand a packet of a real server to the director."""
        return self.handle(segment, hook=Hook.FORWARD)

    def to_server(self, request: Segment, number: int = 1, rport: int = 8080) -> Segment:
        """Return a request as it must look behind the director."""
        return replace(request, destination=self.rip(number), destination_port=rport)

    def answer(self, request: Segment, what: str = "", number: int = 1, rport: int = 8080) -> bytes:
        """Let a real server answer a request; return what the director makes of it."""
        outcome = self.reply(replace(self.to_server(request, number, rport).reversed, what=what))
        assert isinstance(outcome, bytes)
        return outcome

    def establish(self, **ends: Any) -> Segment:
        """Shake hands over TCP; return the client's last packet."""
        syn = self.from_client("S", **ends)
        assert isinstance(self.handle(syn), bytes)
        ack = replace(syn, what="A")
        assert isinstance(self.handle(ack), bytes)
        return ack

    def shake_hands(self, syn: Segment) -> Segment:
        """Open a connection of FULLNAT; return the client's ACK.

        The real server's answer is not scapy's: that would be most of the time of a crowd.
        """
        got = Packet()
        got.load(self.leave(syn))
        server, local = (got.destination, got.destination_port), (got.source, got.source_port)
        seq = int.from_bytes(got.data[got.l4 + 4 : got.l4 + 8], "big")
        answer = tcp_segment(server, local, TcpFlag.SYN | TcpFlag.ACK, 1999, seq + 1 & 0xFFFFFFFF)
        self.leave(ip_packet(server[0], local[0], NUMBERS["tcp"], answer))
        ack = replace(syn, what="A")
        self.leave(ack)
        return ack

    def wait(self, seconds: float) -> None:
        """Let time go by, second by second, with the director's timers."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1.0, end)
            self.tick()

    def tick(self) -> None:
        """Run the director's timers at the present time, to the end."""
        while self.balancer.tick(self.now):
            pass

    # --- what there is ----------------------------------------------------------------------

    def states(self) -> list[str]:
        """Return the states of all connections."""
        return [row.state_name for row in self.balancer.connections() if not row.template]

    def chosen(self, request: Segment) -> str:
        """Return the address of the real server that a request goes to."""
        outcome = self.handle(request)
        assert isinstance(outcome, bytes)
        header = IP(outcome) if self.version == 4 else IPv6(outcome)
        return str(header.dst)

    def sent(self) -> list[Departure]:
        """Return what is to leave by a socket, and take it as sent."""
        departures = self.balancer.outbox.departures.copy()
        self.balancer.outbox.departures.clear()
        return departures

    def leave(self, segment: Segment | bytes, *, hook: Hook = Hook.PREROUTING) -> bytes:
        """Hand a packet to the director; return the one that it sends by a socket for it."""
        assert self.handle(segment, hook=hook) is Verdict.TAKEN
        (departure,) = self.sent()
        return departure.data

    def drops(self) -> dict[str, int]:
        """Return the reasons for which packets were dropped, and how many."""
        return {reason.value: count for reason, count in self.balancer.tally.drops.items() if count}


def counts(server: RealServer) -> tuple[int, int]:
    """Return a server's active and inactive connections."""
    return server.active, server.inactive
