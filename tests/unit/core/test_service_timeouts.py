"""Timeouts that a service has of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from forwarders import Dr, Fullnat, Nat
from lvsd.core.local_pool import LocalPool
from lvsd.core.timeouts import Timing
from lvsd.packet.address import pack
from tests.unit.core.world import Segment, World

if TYPE_CHECKING:
    from forwarders.base import Forwarder

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
OWN = Timing(tcp_s=60, udp_s=20)
FORWARDERS = [Nat(), Dr(), Fullnat("none")]


def _world(version: int, protocol: str, forwarder: Forwarder, timing: Timing) -> World:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    world.serve(protocol, 80, rport=80, forwarder=forwarder, local=pool, timing=timing)
    return world


def _request(world: World, protocol: str, what: str | None = None) -> Segment:
    """Send a client's packet; return what the real server answers it with."""
    request = world.from_client(what, protocol=protocol)
    outcome = world.handle(request)
    data = outcome if isinstance(outcome, bytes) else world.sent()[0].data
    got = (IP if world.version == 4 else IPv6)(data)
    return Segment(protocol, got.dst, got.dport, got.src, got.sport)


def _left(world: World) -> float:
    (row,) = world.balancer.connections()
    return row.expires - world.now


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("forwarder", FORWARDERS, ids=["nat", "dr", "fullnat"])
def test_a_service_has_timeouts_of_its_own(version: int, forwarder: Forwarder) -> None:
    tcp = _world(version, "tcp", forwarder, OWN)
    _request(tcp, "tcp", "S")
    _request(tcp, "tcp", "A")
    udp = _world(version, "udp", forwarder, OWN)
    _request(udp, "udp")
    assert (_left(tcp), _left(udp)) == (60, 20)


def test_its_other_timeouts_are_those_of_all() -> None:
    world = _world(4, "tcp", Nat(), OWN)
    _request(world, "tcp", "S")
    assert _left(world) == 60  # SYN_RECV
    world.set_timeouts(1000, 77, 0)
    _request(world, "tcp", "A")
    assert _left(world) == 60
    reply = replace(_request(world, "tcp", "A"), what="FA")
    world.reply(reply)
    assert _left(world) == 77


def test_a_service_that_says_nothing_follows_what_is_set_for_all() -> None:
    world = _world(4, "udp", Nat(), Timing())
    _request(world, "udp")
    assert _left(world) == 300
    world.set_timeouts(0, 0, 10)
    _request(world, "udp")
    assert _left(world) == 10


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("forwarder", [Nat(), Fullnat("none")], ids=["nat", "fullnat"])
@pytest.mark.parametrize("udp_s", [0, 20])
def test_an_answered_datagram_has_a_timeout_of_its_own(
    version: int, forwarder: Forwarder, udp_s: int
) -> None:
    world = _world(version, "udp", forwarder, Timing(udp_s=udp_s, udp_answered_s=3))
    left = []
    for _ in range(2):
        answer = _request(world, "udp")
        left.append(_left(world))
        world.reply(answer)
        world.sent()
        left.append(_left(world))
        world.reply(answer)
        world.sent()
        left.append(_left(world))
    assert left == [udp_s or 300, 3, 3] * 2
    assert [row.state_name for row in world.balancer.connections()] == ["UDP"]


def test_one_that_is_answered_ends_after_it_and_frees_its_port() -> None:
    world = _world(4, "udp", Fullnat("none"), Timing(udp_answered_s=3))
    world.reply(_request(world, "udp"))
    world.wait(5)
    assert world.balancer.flows.table.count == 0
    assert world.balancer.flows.local_ports.free == {}


def test_what_is_set_for_all_reaches_services_with_a_timeout_for_answers() -> None:
    world = _world(4, "udp", Nat(), Timing(udp_answered_s=3))
    _request(world, "udp")
    world.set_timeouts(0, 0, 10)
    answer = _request(world, "udp")
    assert _left(world) == 10
    world.reply(answer)
    assert _left(world) == 3


def test_where_answers_do_not_pass_there_is_none_for_them() -> None:
    world = _world(4, "udp", Dr(), Timing(udp_s=20, udp_answered_s=3))
    _request(world, "udp")
    assert _left(world) == 20


def test_an_edit_changes_the_timeouts_of_connections_that_there_are() -> None:
    world = _world(4, "udp", Nat(), Timing())
    _request(world, "udp")
    (service,) = world.balancer.services
    world.edit(service, timing=Timing(udp_s=20, udp_answered_s=3))
    answer = _request(world, "udp")
    assert _left(world) == 20
    world.reply(answer)
    assert _left(world) == 20  # it began without
    world.handle(world.from_client(protocol="udp", cport=40001))
    assert {row.expires - world.now for row in world.balancer.connections()} == {20}
    world.reply(replace(answer, destination_port=40001))
    assert {row.expires - world.now for row in world.balancer.connections()} == {20, 3}
