"""Persistence: whose template it is, how long it lives, and which server it may name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.persistence import mask
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import FirstAdded, World, counts

both_versions = pytest.mark.parametrize("version", [4, 6])


def _rports(world: World) -> list[int]:
    return [row.rport for row in world.balancer.connections() if not row.template]


def _template_keys(world: World) -> list[tuple[int, bytes, bytes, int]]:
    return list(world.balancer.flows.table.templates)


@both_versions
def test_a_client_keeps_its_server(version: int) -> None:
    world = World(version)
    world.serve(servers=3, persistence_s=300)
    chosen = [world.chosen(world.from_client(cport=cport)) for cport in range(1, 6)]
    assert chosen == [world.rip(3)] * 5


@both_versions
def test_another_client_gets_another_server(version: int) -> None:
    world = World(version)
    world.serve(servers=3, persistence_s=300)
    chosen = [world.chosen(world.from_client(client=client)) for client in (1, 2, 3, 1, 2)]
    assert chosen == [world.rip(server) for server in (3, 2, 1, 3, 2)]


@both_versions
def test_the_key_of_a_service_with_a_port(version: int) -> None:
    world = World(version)
    world.serve(persistence_s=300)
    world.establish()
    assert _template_keys(world) == [(6, pack(world.client()), pack(world.vip()), 80)]


@both_versions
def test_the_key_of_a_port_0_service(version: int) -> None:
    world = World(version)
    world.serve("udp", vport=0, rport=0, persistence_s=300)
    for vport in (53, 5060):
        world.handle(world.from_client(protocol="udp", vport=vport))
    assert _template_keys(world) == [(17, pack(world.client()), pack(world.vip()), 0)]


@both_versions
def test_ftps_control_and_data_connections_share_a_template(version: int) -> None:
    world = World(version)
    world.serve(vport=21, rport=21, servers=3, persistence_s=300)
    chosen = [world.chosen(world.from_client(vport=vport)) for vport in (21, 20, 50000)]
    assert chosen == [world.rip(3)] * 3
    assert _template_keys(world) == [(6, pack(world.client()), pack(world.vip()), 0)]


@both_versions
def test_all_that_bears_a_mark_shares_a_template(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, servers=3, rport=0, persistence_s=300)
    for protocol, vip, vport in (("tcp", 1, 80), ("udp", 2, 53), ("sctp", 3, 5000)):
        world.handle(world.from_client(protocol=protocol, vip=vip, vport=vport), mark=7)
    assert _template_keys(world) == [(0, pack(world.client()), bytes((0, 0, 0, 7)), 0)]


@pytest.mark.parametrize(
    ("vport", "rport", "asked", "expected"),
    [(80, 8080, 80, 8080), (80, 0, 80, 80), (0, 8080, 443, 443), (21, 2121, 21, 2121)],
)
@both_versions
def test_the_port_at_the_real_server(
    version: int, vport: int, rport: int, asked: int, expected: int
) -> None:
    world = World(version)
    world.serve(vport=vport, rport=rport, persistence_s=300)
    world.handle(world.from_client(vport=asked))
    assert _rports(world) == [expected]


@both_versions
def test_ftps_data_goes_to_the_port_that_the_client_asks_for(version: int) -> None:
    world = World(version)
    world.serve(vport=21, rport=2121, persistence_s=300)
    world.handle(world.from_client(vport=21))
    world.handle(world.from_client(vport=50000))
    assert _rports(world) == [2121, 50000]


@pytest.mark.parametrize(
    ("address", "prefix", "network"),
    [
        ("203.0.113.77", None, "203.0.113.77"),
        ("203.0.113.77", 32, "203.0.113.77"),
        ("203.0.113.77", 24, "203.0.113.0"),
        ("203.0.113.77", 25, "203.0.113.0"),
        ("203.0.113.177", 25, "203.0.113.128"),
        ("203.0.113.77", 1, "128.0.0.0"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
        ("2001:db8:1:2:3:4:5:6", 47, "2001:db8::"),
        ("2001:db8:1:2:3:4:5:6", 0, "::"),
    ],
)
def test_a_netmask_keeps_so_many_bits(address: str, prefix: int | None, network: str) -> None:
    assert mask(pack(address), prefix) == pack(network)


@pytest.mark.parametrize(("version", "prefix"), [(4, 24), (6, 64)])
def test_clients_of_one_network_share_a_server(version: int, prefix: int) -> None:
    world = World(version)
    world.serve(servers=3, persistence_s=300, prefix=prefix)
    assert {world.chosen(world.from_client(client=client)) for client in (1, 77, 254)} == {
        world.rip(3)
    }


@both_versions
def test_the_timer_starts_anew_with_each_connection(version: int) -> None:
    world = World(version)
    world.serve("udp", servers=2, persistence_s=400)
    for cport in (1, 2, 3):
        assert world.chosen(world.from_client(protocol="udp", cport=cport)) == world.rip(2)
        world.wait(390)
    (template,) = world.balancer.flows.table.templates.values()
    assert template.expires - world.now == 10


@both_versions
def test_the_timer_does_not_start_anew_with_a_packet_of_a_connection(version: int) -> None:
    world = World(version)
    world.serve(persistence_s=300)
    ack = world.establish()
    world.wait(100)
    world.handle(ack)
    (template,) = world.balancer.flows.table.templates.values()
    assert template.expires - world.now == 200


@both_versions
def test_a_template_without_connections_ends_with_its_timer(version: int) -> None:
    world = World(version)
    service = world.serve("udp", persistence_s=400)
    world.handle(world.from_client(protocol="udp"))
    world.wait(399)
    assert world.balancer.counters()["templates"] == 1
    world.wait(2)
    assert world.balancer.counters()["templates"] == 0
    assert service.servers[0].templates == 0


@both_versions
def test_a_template_whose_connections_live_goes_on_in_steps_of_a_minute(version: int) -> None:
    world = World(version)
    world.serve(servers=2, persistence_s=30)
    world.establish()
    world.wait(31)
    (template,) = world.balancer.flows.table.templates.values()
    assert template.expires == 1000 + 30 + 60
    world.wait(800)
    assert world.balancer.counters()["templates"] == 1
    assert world.chosen(world.from_client(cport=2)) == world.rip(2)


@both_versions
def test_a_template_that_lived_on_starts_anew_with_a_minute_only(version: int) -> None:
    world = World(version)
    world.serve(persistence_s=300)
    ack = world.establish(cport=1)
    world.wait(290)
    world.handle(ack)
    world.wait(11)
    world.handle(world.from_client(cport=2))
    (template,) = world.balancer.flows.table.templates.values()
    assert template.expires - world.now == 60


@both_versions
def test_a_template_that_expires_together_with_its_last_connection_ends_with_it(
    version: int,
) -> None:
    world = World(version)
    world.serve(persistence_s=60)
    for client in range(1, 20):
        world.handle(world.from_client(client=client))
    world.wait(61)
    assert len(world.balancer.flows.table) == 0


@both_versions
def test_a_template_that_lived_on_ends_within_a_minute_of_its_last_connection(
    version: int,
) -> None:
    world = World(version)
    world.serve(persistence_s=30)
    world.establish()
    world.wait(901)
    assert world.balancer.counters()["connections"] == 0
    assert world.balancer.counters()["templates"] == 1
    world.wait(61)
    assert world.balancer.counters()["templates"] == 0


@both_versions
def test_a_template_to_a_removed_server_is_replaced(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300)
    world.establish()
    removed = world.remove_server(service, 2)
    assert world.chosen(world.from_client(cport=2)) == world.rip(1)
    (template,) = world.balancer.flows.table.templates.values()
    assert template.server is service.servers[0]
    assert removed.templates == 1
    world.wait(1000)
    assert removed.templates == 0


@both_versions
def test_a_template_to_a_quiesced_server_holds(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300)
    world.establish()
    world.edit_server(service.find(pack(world.rip(2)), 8080), weight=0)
    assert world.chosen(world.from_client(cport=2)) == world.rip(2)


@both_versions
def test_a_template_to_a_quiesced_server_ends_with_expire_quiescent_template(version: int) -> None:
    world = World(version)
    world.settings.expire_quiescent_template = True
    service = world.serve(servers=2, persistence_s=300)
    world.establish()
    quiesced = service.find(pack(world.rip(2)), 8080)
    world.edit_server(quiesced, weight=0)
    assert world.chosen(world.from_client(cport=2)) == world.rip(1)


@both_versions
def test_a_template_to_an_overloaded_server_holds(version: int) -> None:
    world = World(version)
    service = world.serve(servers=1, persistence_s=300, scheduler=FirstAdded())
    world.edit_server(service.servers[0], upper=1)
    world.establish()
    assert service.servers[0].overloaded
    assert world.chosen(world.from_client(cport=2)) == world.rip(1)


@both_versions
def test_a_template_does_not_count_as_a_connection(version: int) -> None:
    world = World(version)
    service = world.serve("udp", persistence_s=400)
    world.handle(world.from_client(protocol="udp"))
    world.wait(301)
    assert world.balancer.counters()["templates"] == 1
    assert counts(service.servers[0]) == (0, 0)


@both_versions
def test_no_usable_server_leaves_no_template(version: int) -> None:
    world = World(version)
    world.serve(servers=0, persistence_s=300)
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.balancer.counters()["templates"] == 0


@both_versions
def test_tcp_assures_a_template_when_it_is_established(version: int) -> None:
    world = World(version)
    world.serve(persistence_s=300)
    syn = world.from_client()
    world.handle(syn)
    (template,) = world.balancer.flows.table.templates.values()
    assert not template.assured
    world.handle(replace(syn, what="A"))
    assert template.assured


@both_versions
def test_udp_assures_a_template_by_a_reply(version: int) -> None:
    world = World(version)
    world.serve("udp", persistence_s=300)
    request = world.from_client(protocol="udp")
    world.handle(request)
    world.handle(request)
    (template,) = world.balancer.flows.table.templates.values()
    assert not template.assured
    world.answer(request)
    assert template.assured


@both_versions
def test_a_template_that_was_found_without_its_server_is_not_found_again(version: int) -> None:
    world = World(version)
    service = world.serve(servers=1, persistence_s=300, scheduler=FirstAdded())
    world.establish()
    world.remove_server(service)
    assert world.handle(world.from_client(cport=2)) is Verdict.DROP
    world.add_server(service, 2)
    world.add_server(service, 1)
    assert world.chosen(world.from_client(cport=3)) == world.rip(2)


@both_versions
def test_a_template_whose_server_came_back_unnoticed_holds(version: int) -> None:
    world = World(version)
    service = world.serve(servers=1, persistence_s=300, scheduler=FirstAdded())
    world.establish()
    world.remove_server(service)
    world.add_server(service, 2)
    world.add_server(service, 1)
    assert world.chosen(world.from_client(cport=2)) == world.rip(1)


def _retired(version: int) -> World:
    """Return a world with a template that is no longer found, and one instead of it."""
    world = World(version)
    service = world.serve(servers=2, persistence_s=300)
    world.establish()
    world.remove_server(service, 2)
    world.handle(world.from_client(cport=2))
    return world


@both_versions
def test_a_listing_shows_the_highest_port_for_a_template_that_is_not_found(version: int) -> None:
    rows = [row for row in _retired(version).balancer.connections() if row.template]
    assert [(row.rip, row.vport, row.rport) for row in rows] == [
        (pack(World(version).rip(1)), 80, 8080),
        (pack(World(version).rip(2)), 65535, 65535),
    ]


@both_versions
def test_a_template_that_is_not_found_counts_until_its_time_is_out(version: int) -> None:
    world = _retired(version)
    balancer = world.balancer
    assert (balancer.counters()["templates"], len(balancer.flows.table)) == (2, 4)
    world.wait(1000)
    assert len(balancer.flows.table) == 0


@both_versions
def test_a_template_that_lives_on_does_not_fall_behind(version: int) -> None:
    world = World(version)
    world.now += 0.75
    world.serve(persistence_s=30)
    world.establish()
    born = world.now
    world.now = float(int(world.now))
    world.wait(300)
    (template,) = world.balancer.flows.table.templates.values()
    assert template.expires == born + 30 + 5 * 60


@both_versions
def test_a_template_of_another_service_has_that_ones_scheduler_told(version: int) -> None:
    world = World(version)
    ftps, any_ports = FirstAdded(), FirstAdded()
    ftp = world.serve(vport=21, persistence_s=300, scheduler=ftps)
    world.serve(vport=0, persistence_s=300, scheduler=any_ports)
    world.handle(world.from_client(vport=21))
    ftps.told.clear()
    world.handle(world.from_client(vport=80))
    assert (ftps.told, any_ports.told) == (ftp.servers, [])
