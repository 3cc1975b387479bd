"""FULLNAT as the director does it: local ports, both directions, the end of connections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.packet import Raw

from forwarders import Fullnat
from lvsd.core.flows import SENT_AT_ONCE
from lvsd.core.local_pool import LocalPool
from lvsd.core.local_ports import SPARE_OPENING
from lvsd.core.sequence_numbers import GAP, TICKS_PER_S
from lvsd.core.upkeep import ENDED_TOGETHER
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import Segment, World, raw

if TYPE_CHECKING:
    from lvsd.core.service import Service

pytestmark = pytest.mark.parametrize("version", [4, 6])

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
PLAIN = Fullnat("none")
LATER_S = 5
FAR = 1 << 30
"""As far as no window goes, nor the clock that first numbers grow by in so few seconds."""


def _world(version: int, *, ports: tuple[int, int] = (5000, 5999)) -> World:
    world = World(version)
    world.balancer.network.local_addresses = frozenset({pack(LIP[version]), pack(world.vip())})
    _serve(world, ports=ports)
    return world


def _serve(
    world: World, protocol: str = "tcp", vport: int = 80, *, ports: tuple[int, int] = (5000, 5999)
) -> Service:
    pool = LocalPool((pack(LIP[world.version]),), *ports)
    return world.serve(protocol, vport, forwarder=PLAIN, local=pool)


def _parsed(world: World, data: bytes) -> IP | IPv6:
    return IP(data) if world.version == 4 else IPv6(data)


def _answer(world: World, request: IP | IPv6, flags: str, *, seq: int = 9000) -> IP | IPv6:
    """Let the real server answer what it got; return what the client gets."""
    tcp = TCP(
        sport=request.dport, dport=request.sport, flags=flags, seq=seq, ack=request[TCP].seq + 1
    )
    reply = type(request)(src=request.dst, dst=request.src) / tcp
    return _parsed(world, world.leave(bytes(reply)))


def _opened(world: World, cport: int = 40000) -> tuple[IP | IPv6, Segment]:
    """Shake hands; return the SYN that the server got, and the client's ACK."""
    syn = world.from_client(cport=cport)
    got = _parsed(world, world.leave(syn))
    _answer(world, got, "SA", seq=1999)
    ack = replace(syn, what="A")
    world.leave(ack)
    return got, ack


def test_a_request_gets_a_local_end_and_a_reply_the_virtual_one(version: int) -> None:
    world = _world(version)
    syn = world.from_client()
    got = _parsed(world, world.leave(syn))
    assert (got.src, got.sport) == (LIP[version], 5000)
    assert (got.dst, got.dport) == (world.rip(), 8080)
    back = _answer(world, got, "SA")
    assert (back.src, back.sport) == (syn.destination, syn.destination_port)
    assert (back.dst, back.dport) == (syn.source, syn.source_port)
    assert back[TCP].ack == 1000 + 1
    assert world.states() == ["SYN_RECV"]


def test_each_connection_has_a_local_port_of_its_own(version: int) -> None:
    world = _world(version)
    ports = [_parsed(world, world.leave(world.from_client(cport=n))).sport for n in (1, 2, 3)]
    assert ports == [5000, 5001, 5002]


def test_a_listing_names_the_local_end(version: int) -> None:
    world = _world(version)
    world.leave(world.from_client())
    (row,) = world.balancer.connections()
    assert row.local == (pack(LIP[version]), 5000)
    assert (row.rip, row.rport) == (pack(world.rip()), 8080)


def test_without_a_free_port_a_client_is_told_and_the_refusal_counted(version: int) -> None:
    world = _world(version, ports=(5000, 5001))
    for cport in (1, 2):
        _opened(world, cport)
    assert world.handle(world.from_client(cport=3)) is Verdict.DROP
    assert world.drops() == {"no_local_port": 1}
    assert len(world.balancer.outbox.answers) == 1
    assert world.balancer.flows.table.count == 2


def test_without_a_free_port_the_oldest_that_is_still_opening_makes_room(version: int) -> None:
    world = _world(version, ports=(5000, 5002))
    _opened(world, 1)
    world.leave(world.from_client(cport=2))
    world.leave(world.from_client(cport=3))
    got = [_parsed(world, world.leave(world.from_client(cport=cport))) for cport in (4, 5, 6)]
    assert [each.sport for each in got] == [5001, 5002, 5001]
    clients = sorted(row.client_port for row in world.balancer.connections())
    assert (clients, world.drops()) == ([1, 5, 6], {})


def test_a_server_that_has_answered_is_told_that_its_connection_made_room(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    got = _parsed(world, world.leave(world.from_client(cport=1)))
    _answer(world, got, "SA")
    assert world.handle(world.from_client(cport=2)) is Verdict.TAKEN
    reset, syn = (_parsed(world, each.data) for each in world.sent())
    assert (reset.sport, str(reset[TCP].flags), reset[TCP].seq) == (5000, "R", got[TCP].seq + 1)
    assert (syn.sport, str(syn[TCP].flags)) == (5000, "S")


def test_of_udp_those_of_one_packet_make_room(version: int) -> None:
    world = _world(version)
    _serve(world, "udp", 53, ports=(5000, 5001))
    got = _parsed(world, world.leave(world.from_client(protocol="udp", vport=53, cport=1)))
    reply = type(got)(src=got.dst, dst=got.src) / UDP(sport=got.dport, dport=got.sport) / b"yes"
    world.leave(bytes(reply))
    for cport in (2, 3):
        request = world.from_client(protocol="udp", vport=53, cport=cport)
        assert _parsed(world, world.leave(request)).sport == 5001
    clients = sorted(row.client_port for row in world.balancer.connections())
    assert clients == [1, 3]


def test_only_those_that_go_to_the_same_server_make_room(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    pool = LocalPool((pack(LIP[version]),), 5000, 5000)
    world.serve(vport=81, rport=8081, forwarder=PLAIN, local=pool)
    world.leave(world.from_client(vport=81))
    _opened(world, 1)
    assert world.handle(world.from_client(cport=2)) is Verdict.DROP
    assert world.balancer.flows.table.count == 2


def test_what_a_list_remembers_of_opening_connections_is_bounded(version: int) -> None:
    world = _world(version, ports=(5000, 5009))
    stays = world.from_client(cport=1)
    for _ in range(500):
        world.leave(stays)
        ack = world.shake_hands(world.from_client(cport=2))
        world.leave(replace(ack, what="R"))
    (free,) = world.balancer.flows.local_ports.free.values()
    assert len(free.opening or ()) <= 2 * 10 + SPARE_OPENING + 1


def test_a_port_is_free_again_when_its_connection_has_ended(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    world.leave(world.from_client(cport=1))
    world.wait(31)
    assert _parsed(world, world.leave(world.from_client(cport=2))).sport == 5000


def test_a_local_address_that_is_not_the_hosts_is_not_used(version: int) -> None:
    world = _world(version)
    world.balancer.network.local_addresses = frozenset({pack(world.vip())})
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_local_port": 1}


def test_a_port_that_comes_again_begins_above_what_its_server_acknowledged(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    first, ack = _opened(world)
    got = _parsed(world, world.leave(_moved(world, ack, FAR)))
    _answer(world, got, "A", seq=2000)
    world.leave(replace(ack, what="R"))
    again = _parsed(world, _again(world))
    assert again.sport == first.sport
    assert again[TCP].seq == (got[TCP].seq + 1 + GAP) % 2**32


def test_a_client_moves_no_first_number_by_what_only_it_says(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    first, ack = _opened(world)
    world.leave(_moved(world, ack, FAR))
    world.leave(replace(ack, what="R"))
    again = _parsed(world, _again(world))
    assert (again[TCP].seq - first[TCP].seq) % 2**32 == LATER_S * TICKS_PER_S


def _moved(world: World, ack: Segment, by: int) -> bytes:
    """Return a packet of the client's whose sequence number is that much further on."""
    packet = _parsed(world, raw(ack))
    packet[TCP].seq += by
    return bytes(packet)


def _again(world: World) -> bytes:
    """Let the connection end, and another client connect; return what the server gets."""
    world.wait(LATER_S)
    return world.leave(world.from_client(cport=40001))


def test_an_expired_connection_is_reset_at_both_ends(version: int) -> None:
    world = _world(version)
    world.set_timeouts(90, 0, 0)
    got, _ = _opened(world)
    world.wait(92)
    to_client, to_server = (_parsed(world, each.data) for each in world.sent())
    assert (to_client.src, to_client.dst) == (world.vip(), world.client())
    assert (to_server.src, to_server.dst) == (LIP[version], world.rip())
    assert {str(each[TCP].flags) for each in (to_client, to_server)} <= {"R", "RA"}
    assert to_client[TCP].seq == 2000
    assert to_server[TCP].seq == (got[TCP].seq + 1) % 2**32


def test_resets_of_many_connections_do_not_leave_all_at_once(version: int) -> None:
    world = _world(version)
    for cport in range(40000, 41000):
        world.shake_hands(world.from_client(cport=cport))
    world.now += 901
    sent = []
    while world.balancer.tick(world.now):
        sent.append(len(world.sent()))
    sent.append(len(world.sent()))
    assert max(sent) < SENT_AT_ONCE + 2 * ENDED_TOGETHER
    assert sum(sent) == 2 * 1000
    assert world.balancer.flows.table.count == 0


def test_a_connection_that_was_closed_is_not_reset(version: int) -> None:
    world = _world(version)
    _, ack = _opened(world)
    world.leave(replace(ack, what="R"))
    world.wait(20)
    assert (world.sent(), world.states()) == ([], [])


def test_udp_goes_and_comes_over_a_local_port_too(version: int) -> None:
    world = _world(version)
    _serve(world, "udp", 53)
    request = world.from_client(protocol="udp", vport=53)
    got = _parsed(world, world.leave(request))
    assert (got.src, got.sport) == (LIP[version], 5000)
    reply = type(got)(src=got.dst, dst=got.src) / UDP(sport=got.dport, dport=got.sport) / b"yes"
    back = _parsed(world, world.leave(bytes(reply)))
    assert (back.src, back.sport, back.dst, back.dport) == (
        world.vip(),
        53,
        world.client(),
        request.source_port,
    )


def test_a_packet_too_big_towards_the_server_is_told_the_client_as_from_the_vip(
    version: int,
) -> None:
    world = _world(version)
    got, ack = _opened(world)
    sent = world.leave(replace(ack, what="PA", payload=bytes(100)))
    if version == 4:
        error = IP(src="10.9.9.9", dst=LIP[4]) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(sent)
    else:
        error = IPv6(src="fd99::9", dst=LIP[6]) / ICMPv6PacketTooBig(mtu=1400) / Raw(sent)
    relayed = _parsed(world, world.leave(bytes(error)))
    assert (relayed.src, relayed.dst) == (world.vip(), world.client())
    quoted = bytes(relayed.payload)[8:]
    inside = _parsed(world, quoted)
    assert (inside.src, inside.sport) == (world.client(), ack.source_port)
    assert (inside.dst, inside.dport) == (world.vip(), 80)
    assert inside[TCP].seq == 1000
    assert got.sport == 5000


def test_an_error_about_a_reply_goes_to_the_real_server(version: int) -> None:
    world = _world(version)
    got, ack = _opened(world)
    answer = raw(replace(ack.reversed, what="PA"))
    if version == 4:
        error = IP(src=world.client(), dst=world.vip()) / ICMP(type=3, code=1) / Raw(answer)
    else:
        error = (
            IPv6(src=world.client(), dst=world.vip()) / ICMPv6PacketTooBig(mtu=1400) / Raw(answer)
        )
    relayed = _parsed(world, world.leave(bytes(error)))
    assert (relayed.src, relayed.dst) == (LIP[version], world.rip())
    inside = _parsed(world, bytes(relayed.payload)[8:])
    assert (inside.src, inside.sport) == (world.rip(), 8080)
    assert (inside.dst, inside.dport) == (LIP[version], got.sport)


def test_a_reply_at_its_last_hop_is_refused(version: int) -> None:
    world = _world(version)
    got, _ = _opened(world)
    header = type(got)(src=got.dst, dst=got.src)
    setattr(header, "ttl" if version == 4 else "hlim", 1)
    assert world.handle(bytes(header / TCP(sport=8080, dport=got.sport))) is Verdict.DROP
    (answer,) = world.balancer.outbox.answers
    assert answer.destination == pack(world.rip())


def test_a_path_says_whose_plan_it_is(version: int) -> None:
    world = _world(version)
    world.leave(world.from_client())
    (connection,) = world.balancer.flows.table
    assert repr(connection.path) == f"Path({PLAIN!r})"


def test_what_fullnat_cannot_translate_is_refused_and_counted(version: int) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    service = world.serve(fwmark=7, forwarder=PLAIN, local=pool)
    assert world.handle(world.from_client(protocol="sctp"), mark=7) is Verdict.DROP
    assert world.drops() == {"not_translated": 1}
    assert len(world.balancer.outbox.answers) == 1
    assert (world.balancer.flows.table.count, service.servers[0].total) == (0, 0)
    assert world.balancer.flows.local_ports.free == {}


def test_a_persistent_client_that_reuses_its_port_is_told_to_the_server_again(
    version: int,
) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    world.serve(forwarder=Fullnat(), local=pool, persistence_s=300, servers=2)
    first, ack = _opened(world)
    world.leave(replace(ack, what="R"))
    second, _ = _opened(world)
    assert second.dst == first.dst
    assert second.sport != first.sport
    assert world.balancer.flows.client_address.told == 2


def test_tcp_and_udp_have_the_same_ports_to_give(version: int) -> None:
    world = _world(version, ports=(5000, 5000))
    pool = LocalPool((pack(LIP[version]),), 5000, 5000)
    world.serve("udp", 80, forwarder=PLAIN, local=pool)
    for protocol in ("tcp", "udp"):
        request = world.from_client(protocol=protocol)
        assert _parsed(world, world.leave(request)).sport == 5000
