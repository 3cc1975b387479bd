"""What is not there yet, or otherwise than in kernel IPVS: what a packet meets instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.verdict import Verdict
from tests.unit.core.world import FirstAdded, World, counts, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])

PASSIVE = {
    4: b"227 Entering Passive Mode (10,0,0,1,156,64).\r\n",
    6: b"229 Entering Extended Passive Mode (|||40000|)\r\n",
}


def test_a_packet_of_a_real_server_without_a_connection_passes_unanswered(version: int) -> None:
    world = World(version)
    world.serve("udp")
    stray = world.to_server(world.from_client(protocol="udp")).reversed
    assert world.reply(stray) is Verdict.PASS
    assert (world.balancer.outbox.answers, world.drops()) == ([], {})


def test_a_mark_without_a_usable_server_is_refused(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, servers=0)
    assert world.handle(world.from_client(), mark=7) is Verdict.DROP
    assert world.drops() == {"no_server": 1}
    assert len(world.balancer.outbox.answers) == 1


def test_what_ftp_says_of_its_data_port_reaches_the_client_as_it_is(version: int) -> None:
    world = World(version)
    world.serve(vport=21, rport=21)
    ack = world.establish(vport=21)
    said = replace(world.to_server(ack, rport=21).reversed, payload=PASSIVE[version])
    assert world.reply(said) == raw(replace(said, source=world.vip()))


def test_a_control_connection_of_ftp_is_scheduled_anew_as_any_other(version: int) -> None:
    world = World(version)
    service = world.serve(vport=21, rport=21, servers=2)
    ack = world.establish(vport=21)
    world.handle(replace(ack, what="FA"))
    world.answer(ack, "FA", 2, 21)
    assert world.states() == ["TIME_WAIT"]
    assert world.chosen(replace(ack, what="S")) == world.rip(1)
    assert [counts(server) for server in service.servers] == [(0, 0), (1, 0)]


def test_a_refused_connection_does_not_move_the_turn(version: int) -> None:
    world = World(version)
    scheduler = FirstAdded()
    world.settings.max_connections = 1
    world.serve(scheduler=scheduler)
    world.establish(cport=1)
    assert world.handle(world.from_client(cport=2)) is Verdict.DROP
    assert len(scheduler.flows) == 1


@pytest.mark.parametrize("sloppy", [False, True])
def test_an_sctp_packet_without_any_chunk_passes(version: int, *, sloppy: bool) -> None:
    world = World(version)
    world.settings.sloppy_sctp = sloppy
    world.serve("sctp")
    assert world.handle(world.from_client("", protocol="sctp")) is Verdict.PASS
    assert world.states() == []
