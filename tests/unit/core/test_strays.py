"""Segments of no connection: who is told that it is gone, and what passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.sctp import SCTP

from forwarders import Dr, Fullnat, Nat
from lvsd.core.local_pool import LocalPool
from lvsd.core.strays import DIRECT_KEPT, REFUSALS_AT_ONCE, REFUSALS_PER_S
from lvsd.core.verdict import Hook, Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import Segment, World

pytestmark = pytest.mark.parametrize("version", [4, 6])

BACK = pytest.mark.parametrize("hook", [Hook.FORWARD, Hook.OUTPUT])
LIP = {4: "10.0.0.200", 6: "fd00::c8"}


def _world(version: int) -> World:
    world = World(version)
    world.balancer.network.local_addresses = frozenset({pack(world.source), pack(LIP[version])})
    return world


def _refusal(world: World) -> Any:
    """Return the one packet that is to leave, without its IP header."""
    (departure,) = world.sent()
    assert departure.neighbour is None
    return (IP if world.version == 4 else IPv6)(departure.data)


def _stray(world: World, what: str = "PA", **ends: Any) -> Segment:
    """Return a packet of a real server to a client that lvsd knows nothing of."""
    protocol = ends.pop("protocol", "tcp")
    request = world.from_client(protocol=protocol, **ends)
    return replace(world.to_server(request).reversed, what=what)


@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Fullnat()])
def test_a_client_whose_connection_is_lost_gets_a_reset_from_the_vip(
    version: int, forwarder: Any
) -> None:
    world = _world(version)
    world.serve(forwarder=forwarder, local=LocalPool((pack(LIP[version]),)))
    assert world.handle(world.from_client("A")) is Verdict.DROP
    told = _refusal(world)
    assert (told.src, told.dst) == (world.vip(), world.client())
    reset = told[TCP]
    assert (reset.sport, reset.dport, str(reset.flags), reset.seq) == (80, 40000, "R", 2000)
    assert world.drops() == {"no_connection": 1}
    assert world.balancer.strays.refusals.sent == 1


def test_a_client_whose_connection_expired_gets_a_reset(version: int) -> None:
    world = _world(version)
    world.serve()
    ack = world.establish()
    world.wait(901)
    assert world.handle(replace(ack, what="PA")) is Verdict.DROP
    assert str(_refusal(world)[TCP].flags) == "R"


def test_an_association_that_is_lost_is_aborted(version: int) -> None:
    world = _world(version)
    world.serve("sctp")
    assert world.handle(world.from_client("DATA", protocol="sctp")) is Verdict.DROP
    told = _refusal(world)
    assert (told.src, told.dst) == (world.vip(), world.client())
    assert (told[SCTP].tag, bytes(told[SCTP].payload)) == (7, bytes((6, 1, 0, 4)))


@pytest.mark.parametrize(("protocol", "what"), [("tcp", "R"), ("tcp", "RA"), ("sctp", "ABORT")])
def test_a_refusal_is_not_refused(version: int, protocol: str, what: str) -> None:
    world = _world(version)
    world.serve(protocol)
    assert world.handle(world.from_client(what, protocol=protocol)) is Verdict.DROP
    assert world.sent() == []
    assert world.drops() == {"no_connection": 1}


def test_a_datagram_for_a_service_that_is_gone_is_answered_by_icmp(version: int) -> None:
    world = _world(version)
    world.serve()
    assert world.handle(world.from_client(protocol="udp")) is Verdict.DROP
    (answer,) = world.balancer.outbox.answers
    kind = ICMP(answer.message)
    assert (kind.type, kind.code) == ((3, 3) if version == 4 else (1, 4))


def test_the_host_answers_itself_where_the_vip_is_its_own(version: int) -> None:
    world = _world(version)
    world.serve()
    world.balancer.network.local_addresses = frozenset({pack(world.vip())})
    assert world.handle(world.from_client("A")) is Verdict.PASS
    assert world.sent() == []


@BACK
@pytest.mark.parametrize("what", ["A", "PA", "FA", ""])
def test_a_real_servers_segment_without_a_connection_is_reset(
    version: int, hook: Hook, what: str
) -> None:
    world = _world(version)
    world.serve()
    assert world.handle(_stray(world, what), hook=hook) is Verdict.DROP
    told = _refusal(world)
    assert (told.src, told.dst) == (world.client(), world.rip())
    assert (told[TCP].sport, told[TCP].dport) == (40000, 8080)
    assert told[TCP].flags.R
    assert world.drops() == {"no_connection": 1}


def test_a_real_servers_chunks_without_a_connection_are_aborted(version: int) -> None:
    world = _world(version)
    world.serve("sctp")
    assert world.reply(_stray(world, "DATA", protocol="sctp")) is Verdict.DROP
    assert bytes(_refusal(world)[SCTP].payload) == bytes((6, 1, 0, 4))


@BACK
@pytest.mark.parametrize("first", ["S", "SA", "SEC"])
def test_a_connection_whose_beginning_was_seen_has_nothing_to_do_with_lvsd(
    version: int, hook: Hook, first: str
) -> None:
    world = _world(version)
    world.serve()
    for what in (first, "A", "PA", "FA", "A"):
        assert world.handle(_stray(world, what), hook=hook) is Verdict.PASS
    assert world.handle(_stray(world, "A", cport=40001), hook=hook) is Verdict.DROP


@pytest.mark.parametrize("first", ["INIT", "INIT_ACK"])
def test_an_association_whose_beginning_was_seen_passes(version: int, first: str) -> None:
    world = _world(version)
    world.serve("sctp")
    for what in (first, "DATA", "SACK"):
        assert world.reply(_stray(world, what, protocol="sctp")) is Verdict.PASS


@pytest.mark.parametrize(("protocol", "what"), [("tcp", "R"), ("tcp", "RA"), ("sctp", "ABORT")])
def test_what_a_real_server_refuses_passes(version: int, protocol: str, what: str) -> None:
    world = _world(version)
    world.serve(protocol)
    assert world.reply(_stray(world, what, protocol=protocol)) is Verdict.PASS
    assert world.sent() == []


def test_a_datagram_does_not_say_who_began_and_passes(version: int) -> None:
    world = _world(version)
    world.serve("udp")
    assert world.reply(_stray(world, "", protocol="udp")) is Verdict.PASS


def test_the_director_knows_its_own_connections(version: int) -> None:
    world = _world(version)
    world.serve()
    assert world.handle(_stray(world), hook=Hook.INPUT) is Verdict.PASS


def test_a_server_of_another_way_is_not_asked_for_replies(version: int) -> None:
    world = _world(version)
    world.serve(forwarder=Dr(), rport=80)
    stray = replace(world.from_client("A").reversed, source=world.rip())
    assert world.reply(stray) is Verdict.PASS


ANY_PORT = pytest.mark.parametrize(
    "service", [{"vport": 0, "rport": 0}, {"vport": 21, "rport": 21}, {"fwmark": 7, "rport": 0}]
)


@ANY_PORT
def test_where_any_port_is_served_a_template_tells_whose_client_it_is(
    version: int, service: dict[str, int]
) -> None:
    world = _world(version)
    world.serve(**service, persistence_s=600)  # type: ignore[arg-type]
    vport = service.get("vport") or 5000
    mark = service.get("fwmark", 0)
    stray = replace(_stray(world, "PA"), source_port=6000)
    assert world.reply(stray) is Verdict.PASS
    assert isinstance(world.handle(world.from_client(vport=vport), mark=mark), bytes)
    assert world.reply(stray) is Verdict.DROP
    assert str(_refusal(world)[TCP].flags) == "R"
    assert world.reply(replace(stray, destination=world.client(2))) is Verdict.PASS
    assert world.reply(replace(stray, what="S")) is Verdict.PASS


def test_a_datagram_to_a_persistent_client_without_a_connection_is_dropped(version: int) -> None:
    world = _world(version)
    world.serve("udp", persistence_s=3000)
    assert isinstance(world.handle(world.from_client(protocol="udp")), bytes)
    world.wait(301)
    assert world.reply(_stray(world, "", protocol="udp")) is Verdict.DROP
    assert world.drops() == {"no_connection": 1}


def test_refusals_are_limited_and_counted(version: int) -> None:
    world = _world(version)
    world.serve()
    at_once = int(REFUSALS_AT_ONCE)
    for cport in range(1000, 1000 + at_once + 50):
        world.handle(world.from_client("A", cport=cport))
    assert len(world.sent()) == at_once
    counts = world.balancer.strays.refusals
    assert (counts.sent, counts.limited) == (at_once, 50)
    assert world.drops() == {"no_connection": at_once + 50}
    world.now += 10.5 / REFUSALS_PER_S
    for cport in range(1000, 1050):
        world.handle(world.from_client("A", cport=cport))
    assert len(world.sent()) == 10


def test_the_direct_connection_that_was_silent_longest_is_forgotten(version: int) -> None:
    world = _world(version)
    world.serve()
    first, second = _stray(world, "SA", cport=1), _stray(world, "SA", cport=2)
    assert world.reply(first) is world.reply(second) is Verdict.PASS
    assert world.reply(replace(first, what="A")) is Verdict.PASS
    address, port = world.rip(), 8080
    direct = world.balancer.strays._direct
    for number in range(DIRECT_KEPT - 1 - len(direct)):
        direct[number.to_bytes(4, "big")] = None
    assert world.reply(_stray(world, "SA", cport=3)) is Verdict.PASS
    assert world.reply(_stray(world, "SA", cport=4)) is Verdict.PASS
    assert len(direct) == DIRECT_KEPT
    assert world.reply(replace(second, what="A")) is Verdict.DROP
    assert world.reply(replace(first, what="A")) is Verdict.PASS
    assert (first.source, first.source_port) == (address, port)


def test_a_connection_of_lvsds_goes_before_a_direct_one_of_the_same_ends(version: int) -> None:
    world = _world(version)
    world.serve()
    assert world.reply(_stray(world, "SA")) is Verdict.PASS
    syn = world.from_client()
    assert isinstance(world.handle(syn), bytes)
    assert isinstance(world.reply(_stray(world, "SA")), bytes)
