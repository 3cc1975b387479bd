"""What the director has seen lately of a real server: heard, waited for, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lvsd.core.evidence import PAUSE_S, Hearing, Refusals
from tests.unit.core.world import World, icmp_error

if TYPE_CHECKING:
    from lvsd.core.service import RealServer

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def only_server(world: World) -> RealServer:
    [service] = world.balancer.services
    [server] = service.servers
    return server


@VERSIONS
def test_a_reset_instead_of_a_handshake_is_a_refusal(version: int) -> None:
    world = World(version)
    world.serve()
    for port in (4001, 4002):
        syn = replace(world.from_client(), source_port=port)
        world.handle(syn)
        world.answer(syn, "RA")
    assert only_server(world).refusals.count == 2


@VERSIONS
def test_a_connection_that_opens_ends_the_row(version: int) -> None:
    world = World(version)
    world.serve()
    syn = replace(world.from_client(), source_port=4001)
    world.handle(syn)
    world.answer(syn, "RA")
    ack = world.establish()
    assert only_server(world).refusals.count == 0
    world.answer(ack, "RA")
    assert only_server(world).refusals.count == 0


@VERSIONS
def test_an_open_connection_that_a_client_resets_is_none(version: int) -> None:
    world = World(version)
    world.serve()
    ack = world.establish()
    world.handle(replace(ack, what="R"))
    assert only_server(world).refusals.count == 0


@VERSIONS
def test_a_port_that_nobody_listens_on_is_a_refusal_over_udp(version: int) -> None:
    world = World(version)
    world.serve("udp")
    request = world.from_client(protocol="udp")
    world.handle(request)
    about = world.to_server(request)
    for kind in ("unreachable", "port unreachable"):
        world.reply(icmp_error(kind, world.rip(), world.client(), about))
    assert only_server(world).refusals.count == 1


def test_a_row_of_refusals_ends_with_a_pause() -> None:
    refusals = Refusals()
    for now in (100.0, 101.0, 101.0 + PAUSE_S):
        refusals.note(80, now)
    assert (refusals.count, refusals.last) == (3, 101.0 + PAUSE_S)
    refusals.note(80, refusals.last + PAUSE_S + 1)
    assert refusals.count == 1


def test_where_clients_choose_the_port_the_refused_one_is_noted() -> None:
    world = World()
    world.serve(vport=0, rport=0, persistence_s=300)
    syn = world.from_client(vport=3000)
    world.handle(syn)
    world.answer(syn, "RA", rport=3000)
    assert only_server(world).refusals.port == 3000


def test_what_is_heard_puts_an_end_to_waiting() -> None:
    hearing = Hearing()
    seen = []
    for now, connections, out_packets in ((2, 1, 0), (4, 1, 0), (6, 3, 0), (8, 3, 1), (10, 4, 1)):
        hearing.sample(connections, out_packets, float(now))
        waits = hearing.waiting_since is not None
        seen.append(
            (
                hearing.heard_at,
                hearing.waiting_since,
                hearing.waiting(connections, out_packets) * waits,
            )
        )
    assert seen == [
        (None, 2.0, 1),
        (None, 2.0, 1),
        (None, 2.0, 3),
        (8.0, None, 0),
        (8.0, 10.0, 1),
    ]
    assert hearing.tried_at == 10.0


@VERSIONS
def test_the_director_samples_it_by_its_own_clock(version: int) -> None:
    world = World(version)
    world.serve()
    world.handle(world.from_client())
    world.wait(3)
    hearing = only_server(world).meter.hearing
    seen = [(hearing.heard_at is None, hearing.waiting_since is None)]
    world.answer(world.from_client(), "SA")
    world.wait(3)
    seen.append((hearing.heard_at is None, hearing.waiting_since is None))
    assert seen == [(True, False), (False, True)]
