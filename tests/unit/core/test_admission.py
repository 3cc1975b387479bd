"""Who gets room in a full table: floods give way first, and no service shuts out another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lvsd.core.verdict import Verdict
from lvsd.packet.view import Packet
from tests.unit.core.world import World, counts, raw

if TYPE_CHECKING:
    from lvsd.core.service import Service
    from tests.unit.core.world import Segment

pytestmark = pytest.mark.parametrize("version", [4, 6])

ROOM = 40
OPENERS = pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])


def _world(version: int, room: int = ROOM) -> World:
    world = World(version)
    world.settings.max_connections = room
    return world


def _flood(world: World, count: int, *, start: int = 2000, **ends: object) -> list[Segment]:
    """Send so many packets that open a connection each and come to nothing more."""
    sent = [world.from_client(cport=start + number, **ends) for number in range(count)]  # type: ignore[arg-type]
    for segment in sent:
        world.handle(segment)
    return sent


def _answered(world: World, segment: Segment) -> bool:
    """Tell whether a packet is one of a connection that the table has, without moving it."""
    packet = Packet()
    packet.load(raw(segment))
    return packet.key in world.balancer.flows.table.by_key


@OPENERS
def test_a_flood_makes_room_for_another_services_connections(version: int, protocol: str) -> None:
    world = _world(version)
    world.serve(protocol, vport=53)
    world.serve(vport=80)
    _flood(world, 10 * ROOM, protocol=protocol, vport=53)
    acks = [world.establish(cport=cport, vport=80) for cport in range(101, 100 + ROOM // 2)]
    assert all(isinstance(world.handle(ack), bytes) for ack in acks)
    assert world.drops() == {}


@OPENERS
def test_the_oldest_opening_connection_gives_way_first(version: int, protocol: str) -> None:
    world = _world(version)
    world.serve(protocol)
    sent = []
    for number in range(ROOM + 5):
        sent += _flood(world, 1, start=number + 100, protocol=protocol)
        world.now += 1
    assert [_answered(world, each) for each in sent] == [False] * 5 + [True] * ROOM
    assert world.balancer.flows.admission.evicted == 5


def test_what_is_established_or_was_answered_never_gives_way(version: int) -> None:
    world = _world(version)
    web, dns = world.serve(vport=80), world.serve("udp", vport=53)
    ack = world.establish(vport=80)
    query = world.from_client(protocol="udp", vport=53)
    world.handle(query)
    world.answer(query)
    twice = world.from_client(protocol="udp", vport=53, cport=7)
    world.handle(twice)
    world.handle(twice)
    _flood(world, 5 * ROOM, start=1000, vport=80)
    _flood(world, 5 * ROOM, start=1000, protocol="udp", vport=53)
    assert [_answered(world, each) for each in (ack, query, twice)] == [True] * 3
    assert web.share.entries + dns.share.entries == len(world.balancer.flows.table) == ROOM


def test_a_flood_of_its_own_service_does_not_keep_a_client_out(version: int) -> None:
    world = _world(version)
    world.serve()
    _flood(world, 10 * ROOM, start=1000)
    ack = world.establish(cport=1)
    _flood(world, 10 * ROOM, start=2000)
    assert _answered(world, ack)


def test_a_service_alone_can_have_the_whole_table(version: int) -> None:
    world = _world(version)
    service = world.serve()
    for cport in range(101, ROOM + 101):
        world.establish(cport=cport)
    assert counts(service.servers[0]) == (ROOM, 0)
    assert world.handle(world.from_client(cport=99)) is Verdict.DROP
    assert world.drops() == {"table_full": 1}


def test_established_connections_of_one_service_leave_the_others_their_part(version: int) -> None:
    world = _world(version)
    services = [world.serve(vport=vport) for vport in (80, 81, 82, 83)]
    for cport in range(101, ROOM + 101):
        world.handle(world.from_client(cport=cport, vport=80))
        world.handle(world.from_client("A", cport=cport, vport=80))
    reserved = ROOM // 2 // 4
    assert services[0].share.entries == ROOM - 3 * reserved
    for vport in (81, 82, 83):
        for cport in range(101, reserved + 101):
            world.establish(cport=cport, vport=vport)
    assert len(world.balancer.flows.table) == ROOM
    assert services[0].share.refused == 3 * reserved


def test_only_a_larger_service_gives_way_to_another(version: int) -> None:
    world = _world(version)
    small, large = world.serve(vport=80), world.serve(vport=81)
    for cport in range(101, ROOM * 3 // 4 + 99):
        world.establish(cport=cport, vport=81)
    waiting = _flood(world, ROOM // 4 + 1, vport=80)
    assert len(world.balancer.flows.table) == ROOM - 1
    _flood(world, 10, start=500, vport=81)
    assert all(_answered(world, each) for each in waiting)
    assert small.share.evicted == 0
    assert large.share.evicted + large.share.refused == 9


def test_a_service_with_a_bound_of_its_own_stays_within_it(version: int) -> None:
    world = _world(version)
    service = world.serve("udp", max_connections=5)
    _flood(world, 20, protocol="udp")
    assert service.share.entries == 5
    assert (service.share.evicted, world.drops()) == (15, {})


def test_a_service_that_is_full_of_established_connections_refuses(version: int) -> None:
    world = _world(version)
    service = world.serve(max_connections=3)
    for cport in (1, 2, 3):
        world.establish(cport=cport)
    assert world.handle(world.from_client(cport=4)) is Verdict.DROP
    assert world.drops() == {"service_full": 1}
    assert service.share.refused == world.balancer.flows.admission.refused == 1


def test_a_template_of_a_client_that_never_answered_goes_with_its_connection(version: int) -> None:
    world = _world(version)
    service = world.serve(persistence_s=300)
    for client in range(1, 3 * ROOM):
        world.handle(world.from_client(client=client))
    assert service.servers[0].templates == world.balancer.flows.table.template_count == ROOM // 2
    assert world.balancer.flows.admission.evicted == 3 * ROOM - 1 - ROOM // 2


def test_a_template_of_a_client_that_once_answered_stays(version: int) -> None:
    world = _world(version)
    service = world.serve(persistence_s=300)
    ack = world.establish(client=1)
    world.handle(replace(ack, what="R"))
    world.wait(11)
    for client in range(2, 3 * ROOM):
        world.handle(world.from_client(client=client))
    assert [each.assured for each in world.balancer.flows.table.templates.values()].count(True) == 1
    assert service.share.entries == len(world.balancer.flows.table) <= ROOM


def _shares(world: World, *services: Service) -> list[int]:
    assert sum(each.share.entries for each in services) == len(world.balancer.flows.table)
    return [each.share.entries for each in services]


def test_entries_are_counted_exactly_however_they_end(version: int) -> None:
    world = _world(version, 1000)
    web, dns = world.serve(persistence_s=50), world.serve("udp", vport=53)
    world.establish(cport=1)
    world.handle(world.from_client(cport=2))
    world.handle(world.from_client(cport=3, protocol="udp", vport=53))
    assert _shares(world, web, dns) == [3, 1]
    world.settings.expire_nodest_conn = True
    world.remove(dns)
    world.wait(2)
    assert _shares(world, web, dns) == [3, 0]
    closing = world.establish(cport=4)
    world.handle(replace(closing, what="R"))
    world.wait(70)
    assert _shares(world, web) == [2]
    world.wait(1000)
    assert _shares(world, web) == [0]
    assert not world.balancer.flows.table.shares.opening


def test_what_a_removed_service_left_is_counted_by_the_one_that_comes_back(version: int) -> None:
    world = _world(version, 1000)
    web = world.serve()
    for cport in range(1, 6):
        world.handle(world.from_client(cport=cport))
    world.remove(web)
    again = world.serve()
    assert again.share.entries == 5
    world.handle(world.from_client(cport=6))
    assert again.share.entries == 6
    world.wait(61)
    assert again.share.entries == len(world.balancer.flows.table) == 0


def test_another_bound_of_the_table_is_divided_anew(version: int) -> None:
    world = _world(version)
    one, other = world.serve(vport=80), world.serve(vport=81)
    world.handle(world.from_client(vport=80))
    assert [one.share.reserved, other.share.reserved] == [ROOM // 4] * 2
    world.settings.max_connections = 4 * ROOM
    world.handle(world.from_client(vport=81))
    assert [one.share.reserved, other.share.reserved] == [ROOM] * 2
    world.remove(other)
    world.handle(world.from_client(vport=80, cport=9))
    assert [one.share.reserved, other.share.reserved] == [2 * ROOM, 0]


def test_what_is_reserved_is_told_before_the_first_connection(version: int) -> None:
    world = _world(version)
    admission = world.balancer.flows.admission
    assert admission.room() == {"entries": 0, "reserved": 0, "max_connections": ROOM}
    world.serve(vport=80)
    service = world.serve(vport=81)
    assert admission.counters()["reserved"] == 2 * (ROOM // 4)
    world.remove(service)
    assert admission.room()["reserved"] == ROOM // 2


def test_a_bound_that_is_changed_is_kept_from_the_next_connection_on(version: int) -> None:
    world = _world(version)
    service = world.serve("udp")
    _flood(world, 30, protocol="udp")
    world.edit(service, max_connections=4)
    _flood(world, 1, start=5000, protocol="udp")
    assert (service.share.entries, service.share.reserved) == (4, 4)
    world.edit(service, max_connections=0)
    _flood(world, 1, start=6000, protocol="udp")
    assert (service.share.entries, service.share.reserved) == (5, ROOM // 2)
