"""Slow start: a server that comes back gets its weight bit by bit, and nobody else notices."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.config.plugins import make_scheduler
from lvsd.core.commands import AddServer, AddService, Drain, Undrain
from lvsd.core.ramps import EASED_AT_ONCE
from lvsd.core.slow_start import SCALE
from lvsd.core.values import ServiceConfig
from lvsd.packet.address import pack
from schedulers import BUILT_IN
from schedulers.base import Flow, Server
from tests.unit.core.world import FirstAdded, World

if TYPE_CHECKING:
    from lvsd.core.service import RealServer, Service

SHARES = sorted(name for name, kind in BUILT_IN.items() if kind.slow_start == "shares")
TURNS = sorted(name for name, kind in BUILT_IN.items() if kind.slow_start == "turns")
WEIGHTS = sorted(name for name, kind in BUILT_IN.items() if kind.slow_start == "weights")
NONE = sorted(name for name, kind in BUILT_IN.items() if kind.slow_start == "none")


def ramping(scheduler: str = "wlc", servers: int = 2, weight: int = 1, **options: Any) -> World:
    """Return a world whose service has servers that are long there, and one that just came."""
    world = World()
    service = world.serve(scheduler=scheduler, servers=servers, slow_start_s=60, **options)
    for server in service.servers:
        world.edit_server(server, weight=weight)
    world.wait(100)
    world.add_server(service, 9, weight=weight)
    return world


def service_of(world: World) -> Service:
    (service,) = world.balancer.services
    return service


def picks(service: Service, number: int, *, keep: bool = False) -> list[int]:
    """Return the last byte of the address of each server that is picked."""
    found = []
    for at in range(number):
        flow = Flow(pack(f"198.51.100.{at % 250}"), at, pack("192.0.2.1"), 80)
        server = service.pick(flow, 0.0)
        assert isinstance(server, Server), server
        found.append(server.address[-1])
        if keep:
            server.open()
            server.activate()
            service.changed(server)
    return found


def newest(world: World) -> RealServer:
    return service_of(world).servers[0]


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize(("seconds", "weight"), [(0, 1), (15, 25), (30, 50), (59, 98), (60, 100)])
def test_a_server_of_weight_1_gets_it_in_hundredths_linearly(
    name: str, seconds: int, weight: int
) -> None:
    world = ramping(name)
    world.wait(seconds)
    assert [server.weight for server in service_of(world).servers] == [weight, SCALE, SCALE]
    assert [server.config.weight for server in service_of(world).servers] == [1, 1, 1]


@pytest.mark.parametrize(("seconds", "held"), [(1, 1), (15, 25), (30, 50), (60, 100)])
def test_with_wlc_a_server_holds_its_part_of_the_connections_of_the_others(
    seconds: int, held: int
) -> None:
    world = ramping("wlc")
    world.wait(seconds)
    found = picks(service_of(world), 200 + held, keep=True)
    assert abs(found.count(9) - held) <= 1


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize(("seconds", "part"), [(6, 0.1), (30, 0.5), (54, 0.9), (60, 1.0)])
@pytest.mark.parametrize("weight", [1, 10])
def test_a_server_takes_its_part_of_its_turns(
    name: str, seconds: int, part: float, weight: int
) -> None:
    world = ramping(name, weight=weight)
    world.wait(seconds)
    found = picks(service_of(world), 2000)
    assert abs(found.count(9) / found.count(1) - part) < 0.03
    assert abs(found.count(1) - found.count(2)) <= 2 * weight


@pytest.mark.parametrize("name", TURNS)
def test_turns_that_are_taken_lie_evenly(name: str) -> None:
    world = ramping(name, weight=10)
    world.wait(30)
    found = picks(service_of(world), 500)
    at = [number for number, server in enumerate(found) if server == 9]
    gaps = [after - before for before, after in pairwise(at)]
    assert max(gaps) <= 10 * 3


@pytest.mark.parametrize("name", TURNS)
def test_two_that_begin_together_alone_share_evenly(name: str) -> None:
    world = ramping(name, servers=1)
    service = service_of(world)
    world.add_server(service, 8)
    world.remove_server(service, 1)
    found = picks(service, 1000)
    assert abs(found.count(8) - found.count(9)) < 100


@pytest.mark.parametrize("name", TURNS)
def test_one_that_begins_slowly_takes_all_where_the_others_are_full(name: str) -> None:
    world = ramping(name, servers=1)
    world.edit_server(service_of(world).servers[1], upper=1)
    service = service_of(world)
    assert set(picks(service, 1, keep=True)) == {1}
    assert picks(service, 50) == [9] * 50


@pytest.mark.parametrize("name", WEIGHTS)
def test_where_weights_count_as_numbers_they_grow_by_whole_ones(name: str) -> None:
    world = ramping(name, weight=10)
    seen = []
    for _ in range(61):
        seen.append(newest(world).weight)
        world.wait(1)
    assert seen == [max(1, second // 6) for second in range(61)]
    assert [server.weight for server in service_of(world).servers] == [10, 10, 10]


@pytest.mark.parametrize("name", NONE)
def test_where_weights_say_whose_clients_are_whose_a_server_begins_with_all(name: str) -> None:
    world = ramping(name, weight=3)
    assert [server.weight for server in service_of(world).servers] == [3, 3, 3]
    assert newest(world).ramp is None


def test_servers_of_the_list_that_makes_the_service_have_their_whole_weight() -> None:
    world = World()
    model = world.serve(servers=3, slow_start_s=60)
    configs = [server.config for server in reversed(model.servers)]
    world.remove(model)
    world.apply(AddService(model.config), *(AddServer(model.key, each) for each in configs))
    assert [server.ramp for server in service_of(world).servers] == [None] * 3


def test_a_server_that_nobody_can_stand_in_for_has_its_whole_weight() -> None:
    world = World()
    service = world.serve(servers=1, scheduler="wlc", slow_start_s=60)
    assert service.servers[0].ramp is None
    world.apply(Drain(service.key, *service.servers[0].config.place))
    world.apply(Undrain(service.key, *service.servers[0].config.place))
    assert service.servers[0].weight == SCALE


def test_without_slow_start_a_server_has_its_whole_weight() -> None:
    world = World()
    service = world.serve(servers=2, scheduler="wlc")
    assert [(server.weight, server.ramp) for server in service.servers] == [(1, None), (1, None)]


def test_a_server_begins_slowly_whenever_it_comes_back() -> None:
    world = ramping("wlc")
    server = newest(world)
    place = service_of(world).key, *server.config.place
    world.wait(60)
    weights = [server.weight]
    world.apply(Drain(*place))
    weights.append(server.weight)
    world.apply(Undrain(*place))
    weights.append(server.weight)
    world.wait(60)
    world.edit_server(server, weight=0)
    weights.append(server.weight)
    world.edit_server(server, weight=2)
    weights.append(server.weight)
    world.wait(30)
    weights.append(server.weight)
    assert weights == [100, 0, 1, 0, 2, 100]


def test_an_edit_of_a_server_that_begins_slowly_goes_on_from_where_it_is() -> None:
    world = ramping("wlc")
    world.wait(30)
    world.edit_server(newest(world), weight=4)
    assert newest(world).weight == 200
    world.edit_server(newest(world), upper=7)
    assert newest(world).weight == 200
    world.wait(30)
    assert newest(world).weight == 400


def test_a_server_that_is_drained_while_it_begins_begins_anew_afterwards() -> None:
    world = ramping("wlc")
    place = service_of(world).key, *newest(world).config.place
    world.wait(30)
    world.apply(Drain(*place))
    world.wait(30)
    assert newest(world).weight == 0
    world.apply(Undrain(*place))
    assert newest(world).weight == 1
    world.wait(30)
    assert newest(world).weight == 50


def test_another_slow_start_holds_for_those_that_are_about_it() -> None:
    world = ramping("wlc")
    world.wait(15)
    world.edit(service_of(world), slow_start_s=30)
    world.wait(1)
    assert newest(world).weight == int(SCALE * 16 / 30)
    world.edit(service_of(world), slow_start_s=0)
    world.wait(1)
    assert [(each.weight, each.ramp) for each in service_of(world).servers] == [(1, None)] * 3


@pytest.mark.parametrize("before", sorted(BUILT_IN))
@pytest.mark.parametrize("after", sorted(BUILT_IN))
def test_another_scheduler_goes_on_with_the_same_part_in_its_own_way(
    before: str, after: str
) -> None:
    world = ramping(before, weight=10)
    world.edit(service_of(world), scheduler=after)
    world.wait(30)
    whole = 10 * SCALE if after in SHARES else 10
    part = newest(world).ramp
    assert [server.weight for server in service_of(world).servers[1:]] == [whole] * 2
    if before in NONE or after in NONE:
        assert (part, newest(world).weight) == (None, whole)
    else:
        assert part is not None
        assert part.part == 0.5
        assert newest(world).weight == (whole if after in TURNS else whole // 2)


@pytest.mark.parametrize("name", SHARES)
def test_with_weights_a_hundred_times_as_large_a_scheduler_picks_the_same(name: str) -> None:
    found = []
    for slow_start_s in (0, 60):
        world = World()
        config = ServiceConfig(world.serve().key, name, slow_start_s=slow_start_s)
        world.remove(service_of(world))
        world.apply(AddService(config))
        service = service_of(world)
        for number, weight in enumerate((7, 3, 1, 40, 2), start=1):
            server = world.add_server(service, number)
            server.ramp = None
            world.edit_server(server, weight=weight)
        world.wait(70)
        found.append(picks(service, 400, keep=True))
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


def test_a_scheduler_is_told_of_each_step_and_of_no_other() -> None:
    class Told(FirstAdded):
        edits: list[int]

        def edit(self, server: Server) -> None:
            self.edits.append(server.weight)

    scheduler = Told()
    scheduler.edits = []
    world = World()
    service = world.serve(scheduler=scheduler, servers=1, slow_start_s=30)
    world.add_server(service, 2, weight=3)
    world.wait(40)
    assert scheduler.edits == [2, 3]
    assert len(world.balancer.transitions.ramps) == 0


def test_a_scheduler_that_fails_at_a_step_is_at_fault_and_others_go_on() -> None:
    class Failing(FirstAdded):
        def edit(self, server: Server) -> None:
            raise RuntimeError(server.weight)

    world = ramping("wlc")
    service = world.serve(vip=2, scheduler=Failing(), servers=1, slow_start_s=60)
    world.add_server(service, 2, weight=10)
    world.wait(60)
    assert isinstance(service.fault, RuntimeError)
    assert [each.servers[0].weight for each in world.balancer.services] == [100, 10]


def test_a_tick_brings_so_many_on_at_the_most_and_says_that_there_are_more() -> None:
    world = World()
    service = world.serve(scheduler=FirstAdded(), servers=1, slow_start_s=60)
    for number in range(EASED_AT_ONCE + 10):
        world.add_server(service, 2, number + 1, weight=60)
    world.now += 30
    assert world.balancer.tick(world.now)
    came = [server.weight for server in service.servers[:-1]]
    assert came.count(30) == EASED_AT_ONCE
    world.tick()
    assert {server.weight for server in service.servers[:-1]} == {30}


def test_a_server_that_is_removed_while_it_begins_is_forgotten() -> None:
    world = ramping("wlc")
    world.remove_server(service_of(world), 9)
    world.wait(1)
    assert len(world.balancer.transitions.ramps) == 0
    assert not service_of(world).has_ramps


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_scheduler_says_how_slow_start_works_with_it(name: str) -> None:
    assert "slow_start" in vars(BUILT_IN[name])
    assert make_scheduler(name, frozenset()).slow_start in {"turns", "shares", "weights", "none"}
