"""What goes is gone: no circle of references keeps it, as Python's collector would have to find it.

The engine's collector looks at no object twice (`lvsd.engine.garbage`): what lives for a moment and
goes later must go by its count of references. So the collector is off here, and nothing may be left
over from one round to the next.
"""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.commands import EditServer, EditService, RemoveService, Zero
from lvsd.core.local_pool import LocalPool
from lvsd.core.values import ServiceKey
from lvsd.errors import ControlError
from lvsd.packet.address import pack
from schedulers import BUILT_IN
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forwarders.base import Forwarder

ROUNDS = 3
CLIENTS = 20


@contextmanager
def _collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _things() -> Counter[str]:
    kinds = (type(each) for each in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if kind is not Counter)


def _age(world: World) -> None:
    """Let connections end, and then templates."""
    for _ in range(2):
        world.now += 3000
        world.tick()


def _live_and_die(world: World, scheduler: str, forwarder: Forwarder, persistence_s: int) -> None:
    """Let a service have all that one can have: connections, changes, one refused, its end."""
    local = LocalPool((pack("10.0.1.5"),) if forwarder.per_connection else ())
    service = world.serve(
        scheduler=scheduler,
        servers=4,
        forwarder=forwarder,
        persistence_s=persistence_s,
        local=local,
    )
    for client in range(CLIENTS):
        world.handle(world.from_client(client=1 + client % 5, cport=2000 + client))
    server = service.servers[0]
    world.apply(EditServer(service.key, replace(server.config, weight=3)))
    world.apply(EditService(replace(service.config, scheduler="lblc", name="x")))
    for client in range(CLIENTS):
        world.handle(world.from_client(client=1 + client % 5, cport=3000 + client))
    rport = server.config.port
    world.remove_server(service, 1, rport)
    world.remove_server(service, 2, rport)
    world.add_server(service, 2, rport, forwarder=forwarder)
    with pytest.raises(ControlError):
        world.apply(RemoveService(service.key), Zero(ServiceKey(fwmark=99)))
    assert sum(1 for _ in world.balancer.connections()) >= CLIENTS
    world.balancer.strays.learn()
    world.remove(service)
    _age(world)
    world.sent()
    world.balancer.outbox.answers.clear()
    assert world.balancer.counters()["connections"] == 0


@pytest.mark.parametrize("persistence_s", [0, 60])
@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Tun(), Fullnat()], ids=lambda each: each.name)
def test_nothing_is_left_of_services_and_their_connections(
    forwarder: Forwarder, persistence_s: int
) -> None:
    world = World()
    with _collector_off():
        found = []
        for _ in range(ROUNDS):
            for scheduler in BUILT_IN:
                _live_and_die(world, scheduler, forwarder, persistence_s)
            found.append(_things())
    assert found[-1] - found[-2] == Counter()


def test_nothing_is_left_of_a_server_that_comes_and_goes() -> None:
    world = World()
    service = world.serve(servers=2)
    with _collector_off():
        found = []
        for _ in range(ROUNDS):
            for client in range(CLIENTS):
                world.handle(world.from_client(client=1 + client % 5, cport=2000 + client))
            world.remove_server(service)
            _age(world)
            world.add_server(service)
            world.sent()
            found.append(_things())
    assert found[-1] - found[-2] == Counter()
