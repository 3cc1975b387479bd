"""What comes for a VIP and belongs to nobody: the host's if the VIP is, else it ends here.

Passed on, it would be routed to a router that sends it back, until its TTL ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Packet, Raw

from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import World, icmp_error, raw

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.parametrize("version", [4, 6])


def _packet(world: World, body: Packet) -> bytes:
    header = IP if world.version == 4 else IPv6
    return bytes(header(src=world.client(), dst=world.vip()) / body)


def _error(world: World, body: Packet) -> bytes:
    kind = ICMP(type=3, code=1) if world.version == 4 else ICMPv6DestUnreach(code=3)
    return _packet(world, kind / body)


def _about_a_tunnel(world: World) -> bytes:
    inner = _packet(world, TCP(sport=40000, dport=80))
    outer = IP(src=world.vip(), dst=world.rip()) if world.version == 4 else None
    outer = outer or IPv6(src=world.vip(), dst=world.rip())
    return _error(world, outer / Raw(inner))


REMOVED = "a service that was removed"

NOBODYS: dict[str, Callable[[World], Any]] = {
    "an error about no connection": lambda world: icmp_error(
        "unreachable", world.client(), world.vip(), world.from_client("A").reversed
    ),
    "an error that quotes nothing": lambda world: _error(world, Raw(b"xxxx")),
    "an error about another's tunnel": _about_a_tunnel,
    "ESP": lambda world: _packet(world, ESP(spi=1, data=bytes(40))),
    "AH": lambda world: _packet(
        world, AH(nh=50, spi=1, icv=bytes(12), payloadlen=4) / Raw(bytes(40))
    ),
    "a segment": lambda world: raw(world.from_client("A")),
    "SCTP without a chunk": lambda world: raw(world.from_client("", protocol="sctp")),
    "SCTP of no association": lambda world: raw(world.from_client("DATA", protocol="sctp")),
    REMOVED: lambda world: raw(world.from_client(vport=81)),
}

KINDS = pytest.mark.parametrize("kind", NOBODYS)


def _world(version: int, **service: Any) -> World:
    world = World(version)
    world.serve(**service)
    if not service:
        world.serve("sctp")
        world.serve("udp", 500)
    world.balancer.network.local_addresses = frozenset({pack(world.source)})
    return world


@KINDS
def test_it_ends_here_where_routing_would_send_it_round(version: int, kind: str) -> None:
    world = _world(version)
    assert world.handle(NOBODYS[kind](world)) is Verdict.DROP
    assert world.drops() == {"no_connection": 1}
    assert world.balancer.counters()["passed"] == 0


@KINDS
def test_the_host_has_it_if_the_vip_is_its_own(version: int, kind: str) -> None:
    world = _world(version)
    world.balancer.network.local_addresses = frozenset({pack(world.vip())})
    assert world.handle(NOBODYS[kind](world)) is Verdict.PASS
    assert world.drops() == {}


@pytest.mark.parametrize("kind", [kind for kind in NOBODYS if kind != REMOVED])
def test_a_mark_says_that_its_packets_are_as_good_as_a_vips(version: int, kind: str) -> None:
    world = _world(version, fwmark=7)
    packet = NOBODYS[kind](world)
    assert world.handle(packet, mark=7) is Verdict.DROP
    assert world.drops() == {"no_connection": 1}
    assert world.handle(packet, mark=8) is Verdict.PASS


def test_a_ping_that_is_marked_ends_here_too(version: int) -> None:
    world = _world(version, fwmark=7)
    ping = _packet(world, ICMP() if version == 4 else ICMPv6EchoRequest())
    assert world.handle(ping, mark=7) is Verdict.DROP
    world.balancer.network.local_addresses = frozenset({pack(world.vip())})
    assert world.handle(ping, mark=7) is Verdict.PASS


def test_an_error_that_is_forwarded_to_somebody_else_passes(version: int) -> None:
    world = _world(version)
    about = world.from_client("A", vport=443)
    error = icmp_error("unreachable", world.rip(), world.client(), about)
    assert world.reply(error) is Verdict.PASS
    assert world.drops() == {}


def test_the_vip_of_a_service_that_is_gone_is_nobodys_address(version: int) -> None:
    world = _world(version)
    for service in list(world.balancer.services):
        world.remove(service)
    assert world.balancer.services.vips == {}
    assert world.handle(NOBODYS["a segment"](world)) is Verdict.PASS
