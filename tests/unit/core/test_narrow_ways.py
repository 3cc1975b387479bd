"""Ways whose MTU is small, or is said to be: senders are told what they heed, the rest is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.local_pool import LocalPool
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import World, raw

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.service import Service

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:e::1"}

every_version = pytest.mark.parametrize("version", [4, 6])


def _serve(world: World, forwarder: Forwarder, protocol: str = "tcp", **options: Any) -> Service:
    pool = LocalPool((pack(LIP[world.version]),))
    return world.serve(protocol, forwarder=forwarder, local=pool, **options)


def _told_mtu(world: World) -> int:
    """Return the MTU in the last ICMP error to a client."""
    return int.from_bytes(world.balancer.outbox.answers[-1].message[4:8], "big")


def _too_big(world: World, destination: str, mtu: int, about: bytes) -> bytes:
    """Return a router's error that a packet is longer than an MTU."""
    if world.version == 4:
        error = IP(src=ROUTER[4], dst=destination) / ICMP(type=3, code=4, nexthopmtu=mtu)
    else:
        error = IPv6(src=ROUTER[6], dst=destination) / ICMPv6PacketTooBig(mtu=mtu)
    return bytes(error / Raw(about))


@every_version
@pytest.mark.parametrize("mtu", [0, 1, 20, 40, 67, 68, 100, 552])
@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Tun(), Tun("gue", 6080), Fullnat()])
def test_no_mtu_is_too_small_for_a_verdict(version: int, mtu: int, forwarder: Forwarder) -> None:
    world = World(version)
    service = _serve(world, forwarder, mss_clamp=True)
    service.servers[0].mtu = mtu
    for dont_fragment in (True, False):
        for length in (0, 1000, 1400):
            packet = replace(
                world.from_client(), payload=bytes(length), dont_fragment=dont_fragment
            )
            outcome = world.handle(packet)
            assert outcome in {Verdict.TAKEN, Verdict.DROP} or isinstance(outcome, bytes)
            assert (outcome is Verdict.TAKEN) == bool(world.sent())


@every_version
@pytest.mark.parametrize("forwarder", [Dr(), Tun(), Fullnat()])
def test_a_way_that_shrinks_with_every_attempt_ends_in_a_counted_drop(
    version: int, forwarder: Forwarder
) -> None:
    world = World(version)
    _serve(world, forwarder, "udp")
    world.balancer.network.link_mtus.clear()
    datagram = replace(world.from_client(protocol="udp"), payload=bytes(1200), dont_fragment=False)
    assert world.handle(datagram) is Verdict.TAKEN
    rounds = 0
    while departures := world.sent():
        rounds += 1
        for each in departures:
            world.balancer.forwarding.too_long(each, len(each.data) - 8)
    assert rounds <= 1300 / 8
    assert world.drops().keys() == {"too_big"}


@pytest.mark.parametrize("mtu", [1300, 1290, 1280])
def test_an_ipv6_packet_that_every_network_takes_goes_through_a_narrow_tunnel_in_pieces(
    mtu: int,
) -> None:
    world = World(6)
    service = _serve(world, Tun())
    world.leave(world.from_client())
    service.servers[0].mtu = mtu
    least = replace(world.from_client("PA"), payload=bytes(1280 - 60))
    assert world.handle(least) is Verdict.TAKEN
    pieces = [IPv6(each.data) for each in world.sent()]
    assert [IPv6ExtHdrFragment in piece for piece in pieces] == [True, True]
    assert all(len(bytes(piece)) <= mtu for piece in pieces)
    more = replace(world.from_client("PA"), payload=bytes(1281 - 60))
    assert world.handle(more) is Verdict.DROP
    assert _told_mtu(world) == 1280


def test_an_ipv6_client_is_told_1280_at_least_when_a_tunnel_turns_out_narrow() -> None:
    world = World(6)
    service = _serve(world, Tun())
    outer = world.leave(replace(world.from_client(), payload=bytes(1300)))
    error = _too_big(world, world.source, 600, outer[:1232])
    assert world.handle(error) is Verdict.TAKEN
    assert _told_mtu(world) == 1280
    assert service.servers[0].mtu == 1280


def test_a_forged_error_about_a_tunnel_lowers_its_mtu_to_552_at_most() -> None:
    world = World(4)
    service = _serve(world, Tun())
    outer = world.leave(world.from_client())
    for mtu in (1, 0):
        assert world.handle(_too_big(world, world.source, mtu, outer)) is Verdict.TAKEN
        assert service.servers[0].mtu == 552
        assert _told_mtu(world) == 532


def test_where_a_way_has_no_room_but_for_the_least_packet_toa_stays_away() -> None:
    world = World(6)
    service = _serve(world, Fullnat())
    syn = world.from_client()
    got = IPv6(world.leave(syn))
    ends = IPv6(src=got.dst, dst=got.src) / TCP(sport=got.dport, dport=got.sport, flags="SA")
    ends[TCP].seq, ends[TCP].ack = 1999, got[TCP].seq + 1
    world.leave(bytes(ends))
    data = replace(syn, what="PA", payload=bytes(1280 - 60))
    sent = world.leave(data)
    assert len(sent) == 1280 + 20
    error = _too_big(world, LIP[6], 1280, sent[:1232])
    assert world.handle(error) is Verdict.TAKEN
    world.sent()
    assert len(world.leave(data)) == 1280
    assert service.servers[0].mtu == 1280
    assert world.balancer.flows.client_address.no_room == 1


@every_version
def test_a_datagram_that_must_grow_by_a_proxy_header_is_told_what_is_left(version: int) -> None:
    world = World(version)
    _serve(world, Fullnat("proxy-v2"), "udp")
    headers, grows = {4: (28, 28), 6: (48, 52)}[version]
    full = replace(world.from_client(protocol="udp"), payload=bytes(1500 - headers))
    assert world.handle(full) is Verdict.DROP
    assert _told_mtu(world) == 1500 - grows
    fits = replace(full, payload=bytes(1500 - headers - grows))
    assert len(world.leave(fits)) == 1500


def test_pieces_of_an_ipv4_packet_have_the_number_that_its_sender_gave_it() -> None:
    world = World(4)
    _serve(world, Dr(), "udp").servers[0].mtu = 600
    assert _numbers(world, 4711) == {4711}


@pytest.mark.parametrize(("forwarder", "number"), [(Dr(), 0), (Tun(), 4711), (Fullnat(), 4711)])
def test_pieces_of_what_has_no_number_or_another_source_have_a_number_of_ours(
    forwarder: Forwarder, number: int
) -> None:
    world = World(4)
    _serve(world, forwarder, "udp").servers[0].mtu = 600
    (ours,) = _numbers(world, number)
    assert ours not in {0, 4711}


def _numbers(world: World, number: int) -> set[int]:
    """Return the identifications of the pieces of a long datagram that comes with this one."""
    datagram = IP(raw(replace(world.from_client(protocol="udp"), payload=bytes(1200))))
    datagram.flags, datagram.id, datagram.chksum = 0, number, None
    assert world.handle(bytes(datagram)) is Verdict.TAKEN
    pieces = [IP(each.data) for each in world.sent()]
    assert len(pieces) > 1
    return {piece.id for piece in pieces}


def test_an_ipv6_datagram_that_nat_may_cut_leaves_in_pieces_of_ours() -> None:
    world = World(6)
    _serve(world, Nat(), "udp").servers[0].mtu = 1300
    datagram = replace(world.from_client(protocol="udp"), payload=bytes(1400))
    assert world.handle(datagram) is Verdict.DROP  # told once
    assert world.handle(datagram) is Verdict.TAKEN
    pieces = [IPv6(each.data) for each in world.sent()]
    assert all(IPv6ExtHdrFragment in piece and len(bytes(piece)) <= 1300 for piece in pieces)
    assert {(piece.dst, piece.hlim) for piece in pieces} == {(world.rip(), datagram.ttl - 1)}
