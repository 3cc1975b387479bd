"""A packet from the wire through the whole director, once in every way of forwarding.

Its flow is opened first, so that whatever the packet is, it meets a connection. What the director
sends for it is then answered, quoted in an ICMP error, and found too long.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.verdict import Departure, Hook, Verdict
from lvsd.packet import icmp
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.view import ICMPV6, SCTP, TCP, UDP, Packet, key, split_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.base import Forwarder
    from lvsd.core.service import Service

NOW: Final = 1000.0
LINK: Final = 1
MTU: Final = 1500
NARROW: Final = 600
GUE_PORT: Final = 6080
RIP: Final = {4: bytes((10, 0, 0, 11)), 6: b"\xfd" + bytes(14) + b"\x0b"}
LIP: Final = {4: bytes((10, 0, 0, 2)), 6: b"\xfd" + bytes(14) + b"\x02"}
WAYS: Final[tuple[Forwarder, ...]] = (
    Nat(),
    Dr(),
    Tun(),
    Tun("gue", GUE_PORT, checksum=True),
    Tun("gre", checksum=True),
    Fullnat(),
    Fullnat("proxy-v2"),
    Fullnat("none"),
)
OPENING: Final = {
    TCP: bytes(12) + b"\x50\x02" + bytes(6),
    UDP: bytes(4) + b"\0\x08\0\0",
    SCTP: bytes(12) + b"\x01\0\0\x04",
}
"""A transport header that opens a connection; its ports are to be filled in."""


def exercise_ways(data: bytes, ways: Sequence[Forwarder] = WAYS) -> None:
    """Send a packet every way. Raises AssertionError where something does not hold."""
    packet = Packet()
    if packet.load(data) is not None:
        return
    for forwarder in ways:
        for family in (4, 6):
            if family == packet.version or isinstance(forwarder, Tun):
                _exercise(packet, forwarder, family)


def exercise_one_way(data: bytes) -> None:
    """Send a packet the way that its last byte says: there are eight to try."""
    exercise_ways(data, WAYS[data[-1] % len(WAYS) :][:1] if data else ())


def _exercise(packet: Packet, forwarder: Forwarder, family: int) -> None:
    balancer, service = _world(packet, forwarder, family)
    opening = _opening(packet)
    if opening is not None:
        balancer.handle(opening, Hook.PREROUTING, 0, LINK, NOW)
        _sent(balancer)
    for link in (LINK, LINK + 1):  # of the second no MTU is known: nothing is put together there
        outcome = balancer.handle(packet.data, Hook.PREROUTING, 0, link, NOW)
        assert isinstance(outcome, bytes | Verdict)
        sent = _sent(balancer)
        for each in sent:
            assert len(each.data) <= MTU
        if isinstance(outcome, bytes):
            sent.append(Departure(outcome))
        for each in sent[:2]:
            _follow(balancer, each)
    balancer.tick(NOW + 100_000)
    balancer.tick(NOW + 200_000)
    assert (balancer.flows.table.by_key, balancer.flows.table.count) == ({}, 0)
    assert balancer.flows.local_ports.free == {}
    assert (service.servers[0].total, service.servers[0].active) == (0, 0)


def _follow(balancer: Balancer, sent: Departure) -> None:
    """Let a packet that was sent be answered, complained of, and found too long."""
    there = Packet()
    assert there.load(sent.data) is None
    for message in (icmp.too_big(there, NARROW), icmp.time_exceeded(there)):
        balancer.handle(_towards_source(there, message), Hook.PREROUTING, 0, LINK, NOW)
    balancer.handle(_turned(there), Hook.FORWARD, 0, LINK, NOW)
    _sent(balancer)
    if len(sent.data) > NARROW:
        balancer.forwarding.too_long(sent, NARROW)
        for piece in _sent(balancer):
            assert len(piece.data) <= NARROW


def _sent(balancer: Balancer) -> list[Departure]:
    """Take what is to be sent; all of it must be packets."""
    sent = balancer.outbox.departures.copy()
    balancer.outbox.departures.clear()
    balancer.outbox.answers.clear()
    for each in sent:
        assert Packet().load(each.data) is None
    return sent


def _world(packet: Packet, forwarder: Forwarder, family: int) -> tuple[Balancer, Service]:
    """Return a director with a service at a packet's destination; its real server's address."""
    balancer = Balancer(make_scheduler, now=NOW)
    balancer.network.link_mtus[LINK] = MTU
    balancer.network.tunnel_ports = frozenset({GUE_PORT})
    balancer.settings.sloppy_tcp = balancer.settings.sloppy_sctp = True
    protocol = packet.protocol if packet.protocol in OPENING else UDP
    vport = packet.destination_port or 1
    wanted = ServiceConfig(
        ServiceKey(protocol, packet.destination, vport, family=packet.version),
        "rr",
        local=LocalPool((LIP[packet.version],)),
        mss_clamp=True,
    )
    server = ServerConfig(RIP[family], vport, forwarder)
    balancer.apply([AddService(wanted), AddServer(wanted.key, server)], NOW)
    service = balancer.services.get(wanted.key)
    service.servers[0].set_way(Way(MTU, LIP[family]))
    return balancer, service


@cache
def _header(version: int, protocol: int, length: int) -> bytes:
    """Return the IP header in front of the addresses."""
    if version == 6:
        return b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes((protocol, 64))
    return b"\x45\0" + (20 + length).to_bytes(2, "big") + bytes((0, 0, 0, 0, 64, protocol, 0, 0))


def _opening(packet: Packet) -> bytes | None:
    """Return a packet that opens the flow that a packet belongs to."""
    transport = OPENING.get(packet.protocol)
    if transport is None:
        return None
    ends = packet.source + packet.destination
    header = _header(packet.version, packet.protocol, len(transport))
    return header + ends + packet.key[-4:] + transport[4:]


def _turned(packet: Packet) -> bytes:
    """Return a packet with its ends exchanged, and without options of IP's."""
    source, destination = split_key(packet.key)
    turned = key(packet.protocol, *destination, *source)
    rest = packet.data[packet.l4 : packet.end]
    if packet.protocol in OPENING:
        rest = turned[-4:] + rest[4:]
    return _header(packet.version, packet.protocol, len(rest)) + turned[1:-4] + rest


def _towards_source(packet: Packet, message: bytes) -> bytes:
    """Return an ICMP message about a packet as somebody on its way sends it."""
    protocol = 1 if packet.version == 4 else ICMPV6
    router = b"\xc6\x33\x64\x01".rjust(len(packet.source), b"\x20")
    if protocol == ICMPV6:
        carry = pseudo_header(router, packet.source, ICMPV6, len(message))
        message = message[:2] + checksum(message, carry).to_bytes(2, "big") + message[4:]
    return _header(packet.version, protocol, len(message)) + router + packet.source + message
