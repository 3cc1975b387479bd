"""How long a FULLNAT connection lives in each of its states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from forwarders import Fullnat
from lvsd.core.local_pool import LocalPool
from lvsd.packet.address import pack
from tests.unit.core.world import Segment, World

pytestmark = pytest.mark.parametrize("version", [4, 6])

LIP = {4: "10.0.0.200", 6: "fd00::c8"}


def _world(version: int, protocol: str = "tcp", vport: int = 80) -> World:
    world = World(version)
    world.balancer.network.local_addresses = frozenset({pack(LIP[version])})
    pool = LocalPool((pack(LIP[version]),))
    world.serve(protocol, vport, forwarder=Fullnat("none"), local=pool)
    return world


def _opened(world: World) -> tuple[Segment, Segment]:
    """Shake hands; return what the client, and what the real server, sends next."""
    syn = world.from_client()
    got = (IP if world.version == 4 else IPv6)(world.leave(syn))
    said = Segment("tcp", world.rip(), 8080, LIP[world.version], got.sport, "SA")
    world.leave(said)
    ack = replace(syn, what="A")
    world.leave(ack)
    return ack, said


def _left(world: World) -> tuple[str, float]:
    (row,) = world.balancer.connections()
    return row.state_name, row.expires - world.now


def test_a_connection_that_is_being_opened_has_30_seconds(version: int) -> None:
    world = _world(version)
    world.leave(world.from_client())
    assert _left(world) == ("SYN_RECV", 30)


def test_an_established_one_has_what_the_operator_says(version: int) -> None:
    world = _world(version)
    world.set_timeouts(1800, 0, 0)
    _opened(world)
    assert _left(world) == ("ESTABLISHED", 1800)


@pytest.mark.parametrize("fin_s", [0, 1800])
def test_one_that_only_the_client_has_closed_has_what_the_operator_says(
    version: int, fin_s: int
) -> None:
    world = _world(version)
    world.set_timeouts(0, fin_s, 0)
    ack, said = _opened(world)
    world.leave(replace(ack, what="FA"))
    assert _left(world) == ("CLOSE_WAIT", fin_s or 120)
    world.leave(replace(said, what="PA", payload=b"late"))
    assert _left(world) == ("CLOSE_WAIT", fin_s or 120)


@pytest.mark.parametrize("fin_s", [0, 1800])
def test_one_that_only_the_real_server_has_closed_has_what_the_operator_says(
    version: int, fin_s: int
) -> None:
    world = _world(version)
    world.set_timeouts(0, fin_s, 0)
    ack, said = _opened(world)
    world.leave(replace(said, what="FA"))
    assert _left(world) == ("FIN_WAIT", fin_s or 120)
    world.leave(replace(ack, what="PA", payload=b"late"))
    assert _left(world) == ("FIN_WAIT", fin_s or 120)


@pytest.mark.parametrize("first", [0, 1])
def test_one_that_both_have_closed_has_7_seconds(version: int, first: int) -> None:
    world = _world(version)
    world.set_timeouts(0, 1800, 0)
    ends = _opened(world)
    world.leave(replace(ends[first], what="FA"))
    world.leave(replace(ends[1 - first], what="FA"))
    assert _left(world) == ("TIME_WAIT", 7)


def test_a_single_fin_that_overtakes_the_handshakes_end_closes_one_side_only(version: int) -> None:
    world = _world(version)
    syn = world.from_client()
    got = (IP if version == 4 else IPv6)(world.leave(syn))
    world.leave(Segment("tcp", world.rip(), 8080, LIP[version], got.sport, "SA"))
    world.leave(replace(syn, what="FA"))
    assert _left(world) == ("CLOSE_WAIT", 120)


@pytest.mark.parametrize("first", [0, 1])
def test_a_half_closed_one_that_expires_is_reset_at_both_ends(version: int, first: int) -> None:
    world = _world(version)
    world.leave(replace(_opened(world)[first], what="FA"))
    world.wait(122)
    assert len(world.sent()) == 2
    assert world.states() == []


def test_one_that_was_reset_has_3_seconds(version: int) -> None:
    world = _world(version)
    ack, _ = _opened(world)
    world.leave(replace(ack, what="R"))
    assert _left(world) == ("CLOSE", 3)
