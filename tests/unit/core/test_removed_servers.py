"""Servers and services that go, with connections left, and come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.stats import Totals
from lvsd.core.verdict import Verdict
from lvsd.errors import ControlError
from lvsd.packet.address import pack
from tests.unit.core.world import FirstAdded, World, counts, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])


def test_packets_to_a_removed_server_are_dropped_and_counted(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    world.remove_server(service)
    assert world.handle(ack) is Verdict.DROP
    assert world.drops() == {"server_gone": 1}
    assert world.states() == ["ESTABLISHED"]


def test_a_dropped_packet_does_not_put_the_end_of_its_connection_off(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    world.remove_server(service)
    world.wait(500)
    world.handle(ack)
    world.wait(401)
    assert world.states() == []


def test_replies_of_a_removed_server_still_pass_and_count_for_nobody(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    server = world.remove_server(service)
    before = server.meter.totals
    assert world.answer(ack, "A") == raw(replace(ack.reversed, what="A"))
    assert server.meter.totals == before
    assert service.meter.totals == before


def test_a_server_added_again_has_its_old_counts_and_its_connections_go_on(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    server = world.remove_server(service)
    assert world.add_server(service, weight=5) is server
    assert service.removed == {}
    assert counts(server) == (1, 0)
    assert server.weight == 5
    assert world.handle(ack) == raw(world.to_server(ack))


def test_a_server_added_again_keeps_its_counters_and_goes_on_counting(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    server = world.remove_server(service)
    world.add_server(service)
    world.handle(ack)
    assert server.meter.totals.connections == 1
    assert server.meter.totals.in_packets == service.meter.totals.in_packets == 3


def test_a_server_without_connections_is_forgotten_at_once(version: int) -> None:
    world = World(version)
    service = world.serve()
    server = world.remove_server(service)
    assert service.removed == {}
    assert world.add_server(service) is not server


def test_a_removed_server_is_forgotten_with_its_last_connection(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    server = world.remove_server(service)
    world.wait(901)
    assert service.removed == {}
    assert world.add_server(service) is not server


def test_a_removed_server_is_kept_as_long_as_a_template_points_at_it(version: int) -> None:
    world = World(version)
    service = world.serve(persistence_s=2000)
    world.establish()
    world.remove_server(service)
    world.wait(1500)
    assert list(service.removed) == [(pack(world.rip()), 8080)]
    world.wait(501)
    assert service.removed == {}


def test_the_scheduler_hears_no_more_of_a_removed_server(version: int) -> None:
    world = World(version)
    scheduler = FirstAdded()
    service = world.serve(scheduler=scheduler)
    world.establish()
    world.remove_server(service)
    scheduler.told.clear()
    world.wait(901)
    assert scheduler.told == []


def test_with_expire_nodest_conn_the_next_packet_ends_the_connection(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve()
    ack = world.establish()
    server = world.remove_server(service)
    assert world.handle(ack) is Verdict.PASS
    assert world.states() == []
    assert counts(server) == (0, 0)


def test_with_expire_nodest_conn_a_syn_goes_to_another_server_at_once(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    world.remove_server(service, 1)
    assert world.chosen(replace(ack, what="S")) == world.rip(2)
    assert world.states() == ["SYN_RECV"]


def test_with_expire_nodest_conn_udp_goes_to_another_server_at_once(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve("udp", servers=2, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    world.handle(request)
    world.remove_server(service, 1)
    assert world.chosen(request) == world.rip(2)


@pytest.mark.parametrize(("nodest", "server"), [(False, 1), (True, 2)])
def test_a_syn_leaves_a_quiesced_server_only_with_expire_nodest_conn(
    version: int, server: int, *, nodest: bool
) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = nodest
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    world.edit_server(service.find(pack(world.rip(1)), 8080), weight=0)
    assert world.chosen(replace(ack, what="S")) == world.rip(server)


def test_data_still_reaches_a_quiesced_server_with_expire_nodest_conn(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve()
    ack = world.establish()
    world.edit_server(service.servers[0], weight=0)
    assert world.handle(ack) == raw(world.to_server(ack))


def test_the_connections_of_a_removed_service_live_on_when_it_is_added_again(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    world.remove(service)
    assert world.handle(ack) is Verdict.DROP
    again = world.serve()
    assert world.handle(ack) == raw(world.to_server(ack))
    assert counts(again.servers[0]) == (1, 0)


def test_a_service_added_again_counts_from_zero(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    world.remove(service)
    again = world.serve()
    world.handle(ack)
    size = len(raw(ack))
    assert again.meter.totals == Totals(0, 1, 0, size, 0)
    assert again.servers[0].meter.totals == Totals(0, 1, 0, size, 0)
    assert service.meter.totals.in_packets == 2


def test_a_server_forgotten_while_its_service_was_away_does_not_come_back(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    server = service.servers[0]
    world.remove(service)
    world.wait(901)
    assert world.serve().servers[0] is not server


def test_a_server_of_a_removed_service_is_dropped_for_without_expire_nodest_conn(
    version: int,
) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    world.remove(service)
    assert world.handle(replace(ack, what="S")) is Verdict.DROP


def test_a_server_cannot_be_added_twice_nor_removed_when_it_is_not_there(version: int) -> None:
    world = World(version)
    service = world.serve()
    with pytest.raises(ControlError, match="Destination already exists"):
        world.add_server(service)
    with pytest.raises(ControlError, match="No such destination"):
        world.remove_server(service, 2)


def test_servers_stand_newest_first(version: int) -> None:
    service = World(version).serve(servers=3)
    assert [server.address[-1] for server in service.servers] == [3, 2, 1]


def test_another_scheduler_takes_over_the_servers_that_are_there(version: int) -> None:
    world = World(version)
    service = world.serve(servers=3)
    scheduler = world.given["first"] = FirstAdded()
    world.edit(service, scheduler="first")
    assert world.chosen(world.from_client()) == world.rip(1)
    assert scheduler.servers == list(reversed(service.servers))


def test_a_server_added_again_takes_up_the_new_thresholds(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    old = world.remove_server(service)
    assert world.add_server(service, upper=1) is old
    assert old.overloaded


def test_with_expire_nodest_conn_templates_go_with_their_last_connections(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    for cport in (1, 2):
        world.establish(cport=cport)
    server = world.remove_server(service, 1)
    world.establish(client=2)
    world.wait(1)
    assert len(world.balancer.flows.table) == 2
    assert (counts(server), server.templates) == ((0, 0), 0)
    assert world.add_server(service, 1) is not server


def test_with_expire_nodest_conn_a_template_without_connections_goes_too(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve("udp", persistence_s=1000)
    world.handle(world.from_client(protocol="udp"))
    world.wait(301)
    server = world.remove_server(service)
    world.wait(1)
    assert (len(world.balancer.flows.table), server.templates) == (0, 0)


def test_what_was_left_before_expire_nodest_conn_goes_with_the_next_removal(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, scheduler=FirstAdded())
    world.establish()
    world.remove_server(service, 1)
    world.wait(1)
    world.settings.expire_nodest_conn = True
    world.wait(2)
    assert world.states() == ["ESTABLISHED"]
    world.establish(client=2)
    world.remove_server(service, 2)
    world.wait(1)
    assert world.states() == []


def test_with_expire_nodest_conn_the_connections_of_a_removed_service_end(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve(persistence_s=300)
    world.establish()
    world.remove(service)
    world.wait(1)
    assert len(world.balancer.flows.table) == 0


def test_a_server_that_came_back_in_time_keeps_its_connections(version: int) -> None:
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve()
    ack = world.establish()
    world.remove_server(service)
    world.add_server(service)
    world.wait(2)
    assert world.handle(ack) == raw(world.to_server(ack))
