"""What `Balancer.apply` says of what it changed, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Nat
from lvsd.core.commands import (
    AddServer,
    AddService,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    ServerChange,
    ServiceChange,
    SetTimeouts,
    TimeoutsChange,
    Zero,
    Zeroed,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from tests.unit.core.world import World

if TYPE_CHECKING:
    from lvsd.core.commands import Command


def test_changes_say_what_was_before_and_what_is_now_in_their_order() -> None:
    world = World()
    service = world.serve(servers=1)
    server = service.servers[0].config
    heavier, renamed = replace(server, weight=7), replace(service.config, name="web")
    changes = world.apply(
        EditServer(service.key, heavier),
        EditService(renamed),
        SetTimeouts(tcp_s=60),
        Zero(service.key),
        RemoveService(service.key),
    )
    assert changes.all == (
        ServerChange(service.key, *server.place, server, heavier),
        ServiceChange(service.key, replace(renamed, name=""), renamed),
        TimeoutsChange((900, 120, 300), (60, 120, 300)),
        Zeroed(service.key),
        ServerChange(service.key, *server.place, heavier, None),
        ServiceChange(service.key, renamed, None),
    )


def test_what_stays_as_it_was_is_no_change() -> None:
    world = World()
    service = world.serve(servers=1)
    changes = world.apply(
        EditService(service.config),
        EditServer(service.key, service.servers[0].config),
        SetTimeouts(0, 120, 0),
    )
    assert changes.all == ()


@pytest.mark.parametrize(
    ("what", "concerns"),
    [
        ({"weight": 3, "upper": 4}, False),
        ({"forwarder": Dr()}, True),
        ({"name": "web", "max_connections": 9}, False),
        ({"persistence_s": 9}, True),
        ({"local": LocalPool((b"1234",))}, True),
    ],
)
def test_only_what_changes_packets_ways_concerns_the_network(
    what: dict[str, Any], *, concerns: bool
) -> None:
    world = World()
    service = world.serve(servers=1)
    server = service.servers[0]
    edit: Command = (
        EditServer(service.key, replace(server.config, **what))
        if what.keys() <= {"weight", "upper", "forwarder"}
        else EditService(replace(service.config, **what))
    )
    assert world.apply(edit).concern_the_network == concerns
    assert not world.apply(SetTimeouts(5, 5, 5), Zero()).concern_the_network
    assert world.apply(RemoveServer(service.key, *server.config.place)).concern_the_network
    assert world.apply(RemoveService(service.key)).concern_the_network


# --- what it costs ------------------------------------------------------------------------------


class CountingDict(dict[Any, Any]):
    """Counts how many of its items are looked at one after the other."""

    walked = 0

    def values(self) -> Any:
        """Yield the values, counted."""
        for value in super().values():
            self.walked += 1
            yield value

    def items(self) -> Any:
        """Yield the items, counted."""
        for item in super().items():
            self.walked += 1
            yield item


class CountingList(list[Any]):
    """The same for a list."""

    walked = 0

    def __iter__(self) -> Any:
        for value in super().__iter__():
            self.walked += 1
            yield value


def _farm(services: int, servers: int) -> list[AddService | AddServer]:
    commands: list[AddService | AddServer] = []
    for number in range(services):
        key = ServiceKey(6, (0x0A000000 + number).to_bytes(4, "big"), 80)
        commands.append(AddService(ServiceConfig(key, "rr")))
        commands += [
            AddServer(key, ServerConfig((0x0B000000 + each).to_bytes(4, "big"), 80, Nat()))
            for each in range(servers)
        ]
    return commands


def test_a_service_that_comes_or_goes_does_not_walk_the_others() -> None:
    world = World()
    world.apply(*_farm(1000, 1))
    services, admission = world.balancer.services, world.balancer.flows.admission
    present = next(iter(services))
    assert admission.admit(present, 1) is None
    walked = services._endpoints = CountingDict(services._endpoints)
    list(services)
    assert walked.walked == 1000
    for number in range(50):
        config = ServiceConfig(present.key._replace(vport=1000 + number), "rr")
        for command in (AddService(config), EditService(replace(config, max_connections=7))):
            world.apply(command)
            assert admission.admit(services.get(config.key), 1) is None
        if number % 2:
            world.apply(RemoveService(config.key))
            assert admission.admit(present, 1) is None
    assert walked.walked == 1000


def test_the_parts_of_the_table_suit_the_number_of_services_to_an_eighth() -> None:
    world = World()
    world.settings.max_connections = 100_000
    services, admission = world.balancer.services, world.balancer.flows.admission
    commands = _farm(200, 0)
    keys = [each.config.key for each in commands if isinstance(each, AddService)]
    rooms = []
    for command in (*commands, *map(RemoveService, keys[:-1])):
        world.apply(command)
        first = next(iter(services))
        assert admission.admit(first, 1) is None
        number = len(services)
        assert {each.share.reserved for each in services} == {first.share.reserved}
        rooms.append(first.share.reserved * 2 * number / 100_000)
        assert first.share.reserved <= 50_000 // number
        assert number >= 16 or first.share.reserved == 50_000 // number
    assert min(rooms) > 7 / 8


def test_a_service_of_many_servers_is_not_walked_for_each_of_them() -> None:
    world = World()
    service = world.serve(servers=0)
    walked = service.servers = CountingList()
    for number in range(100):
        wanted = ServerConfig(number.to_bytes(4, "big"), 80, Nat())
        world.apply(AddServer(service.key, wanted))
        world.apply(EditServer(service.key, replace(wanted, weight=2)))
    assert (len(walked), walked.walked) == (100, 0)
