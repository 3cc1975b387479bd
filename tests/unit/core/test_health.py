"""What health checks make of a real server, and what becomes of its clients then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from forwarders import Fullnat
from lvsd.core.commands import Drain, HealthChange, SetHealth, Undrain
from lvsd.core.local_pool import LocalPool
from lvsd.core.service import server_name
from lvsd.core.values import Health
from lvsd.core.verdict import Reason, Verdict
from lvsd.packet.address import pack
from schedulers import BUILT_IN
from schedulers.base import Flow
from tests.unit.core.world import FirstAdded, World, counts, raw

if TYPE_CHECKING:
    from lvsd.core.commands import Changes
    from lvsd.core.service import RealServer, Service

pytestmark = pytest.mark.parametrize("version", [4, 6])

UNWELL = [Health.STANDBY, Health.QUIESCED, Health.REMOVED]
LEFT_BY_UDP = [Health.QUIESCED, Health.REMOVED]


def settle(world: World, server: RealServer, health: Health) -> Changes:
    """Let checks make something of a server."""
    return world.apply(SetHealth(server.service.key, *server.config.place, health))


def oldest(service: Service) -> RealServer:
    """Return the server that `FirstAdded` prefers."""
    return service.servers[-1]


# --- new connections --------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("health", UNWELL)
def test_a_server_that_is_not_up_gets_no_new_connection_until_it_is(
    version: int, protocol: str, health: Health
) -> None:
    world = World(version)
    service = world.serve(protocol, servers=2, scheduler=FirstAdded())
    settle(world, oldest(service), health)
    assert world.chosen(world.from_client(protocol=protocol, cport=1)) == world.rip(2)
    settle(world, oldest(service), Health.UP)
    assert world.chosen(world.from_client(protocol=protocol, cport=2)) == world.rip(1)


@pytest.mark.parametrize("health", UNWELL)
def test_a_persistent_clients_next_connection_leaves_a_server_that_is_not_up(
    version: int, health: Health
) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    world.establish(cport=1)
    settle(world, oldest(service), health)
    assert world.chosen(world.from_client(cport=2)) == world.rip(2)
    settle(world, oldest(service), Health.UP)
    assert world.chosen(world.from_client(cport=3)) == world.rip(2)
    assert world.chosen(world.from_client(client=9)) == world.rip(1)


def test_a_persistent_client_that_was_silent_meanwhile_finds_its_server_again(
    version: int,
) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300, scheduler="rr")
    world.establish(cport=1)
    server = next(each for each in service.servers if each.total)
    settle(world, server, Health.REMOVED)
    settle(world, server, Health.UP)
    for cport in (2, 3):
        world.establish(cport=cport)
    assert counts(server) == (3, 0)


@pytest.mark.parametrize("health", UNWELL)
@pytest.mark.parametrize("mode", [0, 1])
def test_a_port_that_is_used_again_does_not_reach_a_server_that_is_not_up(
    version: int, health: Health, mode: int
) -> None:
    world = World(version)
    world.settings.conn_reuse_mode = mode
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    ack = world.establish()
    world.handle(replace(ack, what="FA"))
    settle(world, oldest(service), health)
    assert world.chosen(replace(ack, what="S")) == world.rip(2)


@pytest.mark.parametrize("health", UNWELL)
def test_where_no_server_is_up_new_connections_are_refused(version: int, health: Health) -> None:
    world = World(version)
    service = world.serve()
    settle(world, oldest(service), health)
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_server": 1}


# --- those that there are ---------------------------------------------------------------------


@pytest.mark.parametrize("health", [Health.STANDBY, Health.QUIESCED])
@pytest.mark.parametrize("protocol", ["tcp", "sctp"])
def test_connections_of_a_server_on_standby_or_quiesced_go_on(
    version: int, protocol: str, health: Health
) -> None:
    world = World(version)
    service = world.serve(protocol, servers=2, scheduler=FirstAdded())
    opening = world.from_client(protocol=protocol)
    assert world.chosen(opening) == world.rip(1)
    settle(world, oldest(service), health)
    more = replace(opening, what={"tcp": "A", "sctp": "DATA"}[protocol])
    assert world.handle(more) == raw(world.to_server(more))
    assert world.chosen(opening) == world.rip(1)
    assert world.answer(opening, {"tcp": "SA", "sctp": "INIT_ACK"}[protocol])


def test_clients_of_a_removed_server_get_nothing_until_it_is_up_again(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    settle(world, oldest(service), Health.REMOVED)
    assert world.handle(ack) is Verdict.DROP
    assert world.drops() == {"server_gone": 1}
    assert counts(oldest(service)) == (1, 0)
    settle(world, oldest(service), Health.UP)
    assert world.handle(ack) == raw(world.to_server(ack))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("health", UNWELL)
def test_what_a_server_that_is_not_up_still_says_gets_to_the_client_and_is_counted(
    version: int, protocol: str, health: Health
) -> None:
    world = World(version)
    service = world.serve(protocol, servers=2, scheduler=FirstAdded())
    request = world.from_client(protocol=protocol)
    world.handle(request)
    settle(world, oldest(service), health)
    what = "SA" if protocol == "tcp" else ""
    assert world.answer(request, what) == raw(replace(request.reversed, what=what))
    assert oldest(service).meter.stats.out_packets == 1


def test_with_expire_nodest_conn_connections_of_a_removed_server_end_with_their_next_packet(
    version: int,
) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve(servers=2, scheduler=FirstAdded())
    acks = [world.establish(client=client) for client in (1, 2)]
    settle(world, oldest(service), Health.REMOVED)
    world.wait(5)
    assert world.handle(acks[0]) is not None
    assert counts(oldest(service)) == (1, 0)
    assert world.chosen(replace(acks[0], what="S")) == world.rip(2)
    settle(world, oldest(service), Health.UP)
    assert world.handle(acks[1]) == raw(world.to_server(acks[1]))


# --- UDP --------------------------------------------------------------------------------------


def test_udp_stays_with_a_server_on_standby(version: int) -> None:
    world = World(version)
    service = world.serve("udp", servers=2, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    assert world.chosen(request) == world.rip(1)
    settle(world, oldest(service), Health.STANDBY)
    assert world.chosen(request) == world.rip(1)


@pytest.mark.parametrize("persistence_s", [0, 300])
@pytest.mark.parametrize("health", LEFT_BY_UDP)
def test_the_next_datagram_leaves_a_server_that_is_quiesced_or_removed(
    version: int, health: Health, persistence_s: int
) -> None:
    world = World(version)
    service = world.serve("udp", servers=2, persistence_s=persistence_s, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    assert world.chosen(request) == world.rip(1)
    settle(world, oldest(service), health)
    assert world.chosen(request) == world.rip(2)
    assert world.chosen(request) == world.rip(2)
    assert [each.total for each in service.servers] == [1, 0]
    assert [each.meter.stats.connections for each in service.servers] == [1, 1]
    settle(world, oldest(service), Health.UP)
    assert world.chosen(request) == world.rip(2)


@pytest.mark.parametrize("why", ["alone", "weight 0", "full", "not up either"])
def test_udp_goes_on_with_a_quiesced_server_where_no_other_one_takes_it(
    version: int, why: str
) -> None:
    world = World(version)
    service = world.serve("udp", scheduler=FirstAdded(), persistence_s=300)
    request = world.from_client(protocol="udp")
    world.handle(request)
    if why != "alone":
        other = world.add_server(service, 2, weight=why != "weight 0", upper=why == "full")
        if why == "full":
            settle(world, oldest(service), Health.QUIESCED)
            assert world.chosen(world.from_client(protocol="udp", client=2)) == world.rip(2)
        if why == "not up either":
            settle(world, other, Health.REMOVED)
    settle(world, oldest(service), Health.QUIESCED)
    for _ in range(3):
        assert world.chosen(request) == world.rip(1)
    assert counts(oldest(service)) == (0, 1)
    assert oldest(service).meter.stats.in_packets == 4
    assert world.answer(request)


def test_udp_of_a_removed_server_is_refused_where_no_other_one_takes_it(version: int) -> None:
    world = World(version)
    service = world.serve("udp")
    request = world.from_client(protocol="udp")
    world.handle(request)
    settle(world, oldest(service), Health.REMOVED)
    assert world.handle(request) is Verdict.DROP
    assert world.drops() == {"no_server": 1}


def test_a_full_table_ends_the_opening_connection_that_is_to_move_and_not_twice(
    version: int,
) -> None:
    world = World(version)
    world.settings.max_connections = 1
    service = world.serve("udp", servers=1)
    request = world.from_client(protocol="udp")
    world.handle(request)
    settle(world, oldest(service), Health.QUIESCED)
    world.handle(request)
    assert len(world.balancer.flows.table) == oldest(service).total
    world.add_server(service, 2)
    assert world.chosen(request) == world.rip(2)
    assert [each.total for each in service.servers] == [1, 0]


@pytest.mark.parametrize("health", LEFT_BY_UDP)
def test_udp_by_fullnat_leaves_with_its_local_port_given_back(version: int, health: Health) -> None:
    world = World(version)
    own = pack(world.source)
    world.balancer.network.local_addresses = frozenset({own})
    pool = LocalPool((own,), 5000, 5000)
    service = world.serve("udp", servers=2, forwarder=Fullnat(), local=pool, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    world.handle(request)
    settle(world, oldest(service), health)
    world.handle(request)
    assert [each.total for each in service.servers] == [1, 0]
    assert [each.given for each in world.balancer.flows.local_ports.free.values()] == [1]


# --- commands ---------------------------------------------------------------------------------


def test_the_change_says_what_a_server_was_and_is(version: int) -> None:
    world = World(version)
    (server,) = world.serve().servers
    place = server.service.key, *server.config.place
    quiesced = HealthChange(*place, Health.UP, Health.QUIESCED)
    assert settle(world, server, Health.QUIESCED).all == (quiesced,)
    assert settle(world, server, Health.QUIESCED).all == ()
    removed = settle(world, server, Health.REMOVED)
    assert removed.all == (HealthChange(*place, Health.QUIESCED, Health.REMOVED),)
    assert not removed.concern_the_network


@pytest.mark.parametrize("health", UNWELL)
def test_an_edit_keeps_the_health_and_the_weight_comes_with_it(
    version: int, health: Health
) -> None:
    world = World(version)
    (server,) = world.serve(slow_start_s=60, scheduler="wlc").servers
    settle(world, server, health)
    world.edit_server(server, weight=0)
    world.edit_server(server, weight=9)
    world.edit(server.service, scheduler="rr")
    assert (server.health, server.weight, server.ramp) == (health, 0, None)
    settle(world, server, Health.UP)
    assert server.weight == 9


@pytest.mark.parametrize("health", UNWELL)
def test_a_server_that_is_removed_and_added_again_is_up(version: int, health: Health) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    settle(world, oldest(service), health)
    server = world.remove_server(service)
    assert world.handle(ack) is Verdict.DROP
    assert world.add_server(service) is server
    assert (server.health, server.weight) == (Health.UP, 1)
    assert world.handle(ack) == raw(world.to_server(ack))


@pytest.mark.parametrize("health", UNWELL)
def test_drain_and_health_are_apart(version: int, health: Health) -> None:
    world = World(version)
    (server,) = world.serve().servers
    place = server.service.key, *server.config.place
    world.apply(Drain(*place))
    settle(world, server, health)
    world.apply(Undrain(*place))
    assert (server.weight, server.health) == (0, health)
    world.apply(Drain(*place))
    settle(world, server, Health.UP)
    assert server.weight == 0
    world.apply(Undrain(*place))
    assert server.weight == 1


@pytest.mark.parametrize(
    ("health", "weight"),
    [(Health.STANDBY, 100), (Health.QUIESCED, 1), (Health.REMOVED, 1)],
)
def test_a_server_that_was_unwell_begins_slowly(version: int, health: Health, weight: int) -> None:
    world = World(version)
    service = world.serve(servers=1, scheduler="wlc", slow_start_s=60)
    server = world.add_server(service, 2)
    world.wait(61)
    settle(world, server, health)
    assert server.weight == 0
    settle(world, server, Health.UP)
    assert server.weight == weight
    world.wait(30)
    assert server.weight == (50 if weight == 1 else 100)
    world.wait(30)
    assert (server.weight, server.ramp) == (100, None)


def test_a_server_that_falls_ill_while_it_begins_stays_at_nothing(version: int) -> None:
    world = World(version)
    service = world.serve(servers=1, scheduler="wlc", slow_start_s=60)
    server = world.add_server(service, 2)
    world.wait(10)
    settle(world, server, Health.QUIESCED)
    world.wait(30)
    assert (server.weight, server.ramp, len(world.balancer.transitions.ramps)) == (0, None, 0)
    settle(world, server, Health.STANDBY)
    settle(world, server, Health.UP)
    assert server.weight == 100


# --- schedulers -------------------------------------------------------------------------------


def picks(world: World, service: Service) -> list[str]:
    """Return whom a row of new connections would get, each of which stays open."""
    found = []
    for number in range(1, 120):
        flow = Flow(pack(world.client(number)), number, pack(world.vip(number)), 80)
        server = service.pick(flow, world.now)
        if isinstance(server, Reason):
            found.append(server.value)
        else:
            server.open()
            service.changed(server)
            found.append(server_name(server))
    return found


@pytest.mark.parametrize("health", UNWELL)
@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_scheduler_picks_as_if_such_a_server_were_drained(
    version: int, name: str, health: Health
) -> None:
    found = []
    for is_drained in (True, False):
        world = World(version)
        service = world.serve(servers=4, scheduler=name)
        for server, weight in zip(service.servers, (3, 1, 4, 2), strict=True):
            world.edit_server(server, weight=weight)
        picks(world, service)
        if is_drained:
            world.apply(Drain(service.key, *oldest(service).config.place))
        else:
            settle(world, oldest(service), health)
        found.append(picks(world, service))
    assert found[0] == found[1]
    assert server_name(oldest(service)) not in found[0]
    assert "no_server" not in found[0]


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"sh", "mh", "dh"}))
def test_where_clients_have_no_server_of_their_own_it_is_as_if_its_weight_were_0(
    version: int, name: str
) -> None:
    found = []
    for is_zero in (True, False):
        world = World(version)
        service = world.serve(servers=4, scheduler=name)
        picks(world, service)
        if is_zero:
            world.edit_server(oldest(service), weight=0)
        else:
            settle(world, oldest(service), Health.REMOVED)
        found.append(picks(world, service))
    assert found[0] == found[1]
