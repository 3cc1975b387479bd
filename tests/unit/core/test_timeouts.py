"""When connections end, how ``--set`` changes that, and how much is done at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forwarders import Dr
from lvsd.core.commands import AddServer
from lvsd.core.listing import Row
from lvsd.core.upkeep import ENDED_AT_ONCE
from lvsd.core.values import ServerConfig
from lvsd.packet.address import pack
from tests.unit.core.world import World, counts

pytestmark = pytest.mark.parametrize("version", [4, 6])


@pytest.mark.parametrize(
    ("protocol", "packets", "seconds"),
    [
        ("tcp", ("S",), 60),
        ("tcp", ("S", "A"), 900),
        ("tcp", ("S", "A", "FA"), 60),
        ("tcp", ("S", "A", "R"), 10),
        ("udp", ("",), 300),
        ("sctp", ("INIT",), 4),
    ],
)
def test_a_silent_connection_ends_with_its_states_timeout(
    version: int, protocol: str, packets: tuple[str, ...], seconds: int
) -> None:
    world = World(version)
    service = world.serve(protocol)
    for what in packets:
        world.handle(world.from_client(what, protocol=protocol))
    world.wait(seconds)
    assert len(world.states()) == 1
    world.wait(1)
    assert world.states() == []
    assert counts(service.servers[0]) == (0, 0)


@pytest.mark.parametrize("from_server", [False, True])
def test_a_packet_from_either_side_starts_the_timeout_anew(
    version: int, *, from_server: bool
) -> None:
    world = World(version)
    world.serve()
    ack = world.establish()
    world.wait(899)
    if from_server:
        world.answer(ack, "A")
    else:
        world.handle(ack)
    world.wait(899)
    assert world.states() == ["ESTABLISHED"]
    world.wait(2)
    assert world.states() == []


def test_the_defaults_are_those_of_ipvs(version: int) -> None:
    assert World(version).balancer.timeouts() == (900, 120, 300)


def test_set_changes_three_timeouts_and_zero_leaves_one_be(version: int) -> None:
    world = World(version)
    balancer = world.balancer
    world.set_timeouts(100, 0, 20)
    assert balancer.timeouts() == (100, 120, 20)
    world.set_timeouts(0, 30, 0)
    assert balancer.timeouts() == (100, 30, 20)


def test_a_shorter_timeout_holds_from_a_connections_next_packet_on(version: int) -> None:
    world = World(version)
    world.serve()
    ack = world.establish(cport=1)
    world.establish(cport=2)
    world.set_timeouts(50, 0, 0)
    world.wait(10)
    world.handle(ack)
    world.wait(51)
    assert [row.client_port for row in world.balancer.connections()] == [2]
    world.wait(840)
    assert world.states() == []


def test_a_shorter_timeout_holds_for_udp_which_never_changes_its_state(version: int) -> None:
    world = World(version)
    world.serve("udp")
    request = world.from_client(protocol="udp")
    world.handle(request)
    world.set_timeouts(0, 0, 5)
    world.answer(request)
    world.wait(6)
    assert world.states() == []


def test_a_longer_timeout_holds_from_a_connections_next_packet_on(version: int) -> None:
    world = World(version)
    world.serve("udp")
    request = world.from_client(protocol="udp")
    world.handle(request)
    world.set_timeouts(0, 0, 1000)
    world.handle(request)
    world.wait(999)
    assert world.states() == ["UDP"]


def test_a_tick_ends_so_many_connections_and_says_that_more_are_due(version: int) -> None:
    world = World(version)
    service = world.serve("udp")
    some = ENDED_AT_ONCE + 10
    request = world.from_client(protocol="udp")
    for cport in range(1000, 1000 + some):
        world.handle(replace(request, source_port=cport))
    world.now += 302
    assert world.balancer.tick(world.now)
    assert len(world.states()) == service.servers[0].total == 10
    assert not world.balancer.tick(world.now)
    assert world.states() == []


def test_a_connection_that_waits_for_its_end_is_saved_by_a_packet(version: int) -> None:
    world = World(version)
    world.serve("udp")
    request = world.from_client(protocol="udp")
    for cport in range(1000, 1001 + ENDED_AT_ONCE):
        world.handle(replace(request, source_port=cport))
    world.now += 302
    world.balancer.tick(world.now)
    (waiting,) = world.balancer.connections()
    world.handle(replace(request, source_port=waiting.client_port))
    world.tick()
    assert world.states() == ["UDP"]


def test_a_million_idle_seconds_end_everything_and_nothing_is_left(version: int) -> None:
    world = World(version)
    service = world.serve(persistence_s=300)
    world.establish()
    world.now += 1_000_000
    world.tick()
    world.now += 61
    world.tick()
    assert len(world.balancer.flows.table) == 0
    assert world.balancer.flows.table._wheel._buckets == {}
    assert service.servers[0].templates == 0


def test_a_listing_says_all_of_a_connection(version: int) -> None:
    world = World(version)
    world.serve()
    world.establish()
    assert list(world.balancer.connections()) == [
        Row(
            6,
            pack(world.client()),
            40000,
            pack(world.vip()),
            80,
            pack(world.rip()),
            8080,
            "ESTABLISHED",
            world.now + 900,
        )
    ]


@pytest.mark.parametrize(("vport", "rport"), [(80, 8080), (0, 0)])
def test_a_listing_says_all_of_a_template(version: int, vport: int, rport: int) -> None:
    world = World(version)
    world.serve(vport=vport, persistence_s=300)
    world.establish()
    template = next(iter(world.balancer.connections()))
    assert template == Row(
        6,
        pack(world.client()),
        0,
        pack(world.vip()),
        vport,
        pack(world.rip()),
        rport,
        "ASSURED",
        world.now + 300,
        template=True,
    )


def test_a_listing_names_the_mark_of_a_template(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, persistence_s=300)
    world.handle(world.from_client(), mark=7)
    template, connection = world.balancer.connections()
    assert (template.protocol, template.fwmark, template.state_name) == (0, 7, "NONE")
    assert (connection.protocol, connection.fwmark) == (6, 7)


def test_a_connection_knows_its_client(version: int) -> None:
    world = World(version)
    world.serve()
    world.establish()
    (connection,) = world.balancer.flows.table
    assert connection.client == (pack(world.client()), 40000)


def test_a_listing_shows_the_port_of_a_marks_server_even_where_packets_keep_theirs(
    version: int,
) -> None:
    world = World(version)
    service = world.serve(fwmark=7, servers=0)
    world.apply(AddServer(service.key, ServerConfig(pack(world.rip()), 8080, Dr())))
    world.handle(world.from_client(), mark=7)
    world.edit(service, persistence_s=300)
    world.handle(world.from_client(cport=2), mark=7)
    assert [row.rport for row in world.balancer.connections() if not row.template] == [8080, 80]
