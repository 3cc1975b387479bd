"""What follows from changes is done in slices, and what was asked for meanwhile once more."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from forwarders import Tun
from lvsd.core import replies
from lvsd.core.commands import RemoveServer
from lvsd.core.values import Way
from lvsd.engine.settling import settling
from lvsd.engine.slices import Slices
from lvsd.io.diverting import diverted, diverting
from lvsd.packet.address import pack
from lvsd.running.complaints import Complaints
from lvsd.turns import Turns
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from forwarders.base import Forwarder
    from lvsd.core.service import RealServer


COMPLAINT = "cannot do it"


def _slices(steps: Callable[[], Iterator[None]]) -> Slices:
    return Slices(steps, Turns(), Complaints(lambda: 0.0), COMPLAINT)


def test_packets_have_turns_while_ways_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvsd.turns.SLICE_S", 0.0)
    turns: list[int] = []

    def steps() -> Iterator[None]:
        for _ in range(50):
            turns.append(0)
            yield

    async def packets() -> None:
        while True:
            turns[-1:] = [turns[-1] + 1] if turns else []
            await asyncio.sleep(0)

    async def scenario() -> None:
        learning = _slices(steps)
        others = asyncio.create_task(packets())
        learning.soon()
        await learning.done()
        others.cancel()

    asyncio.run(scenario())
    assert len(turns) == 50
    assert min(turns) > 0


def test_servers_may_go_while_they_get_their_ways_and_the_gone_ones_get_theirs() -> None:
    world = World()
    service = world.serve(forwarder=Tun(), servers=3)
    world.leave(world.from_client())
    servers = list(service.servers)
    ways = {each.address: Way(1400, pack("10.9.9.9"), is_local=False) for each in servers}
    ways[pack(world.rip(2))] = Way(65536, pack(world.rip(2)), is_local=True)
    steps = settling(world.balancer, ways)
    next(steps)
    used = next(each for each in servers if each.total)
    world.apply(RemoveServer(service.key, *used.config.place))
    for _ in steps:
        world.apply(*(RemoveServer(service.key, *each.config.place) for each in service.servers))
    assert {each.address: each.way for each in servers} == ways


def test_a_server_that_nobody_knows_the_way_to_keeps_its_own() -> None:
    world = World()
    (server,) = world.serve().servers
    before = server.way
    for _ in settling(world.balancer, {pack("10.77.0.1"): Way(576)}):
        pass
    assert server.way == before


def test_no_step_of_what_follows_a_route_change_looks_at_more_than_one_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.serve(servers=200)
    looked: list[RealServer] = []

    def with_forwarders(server: RealServer) -> Iterator[tuple[RealServer, Forwarder]]:
        looked.append(server)
        yield server, server.effective_forwarder

    monkeypatch.setattr(replies, "_with_forwarders", with_forwarders)
    for steps in (world.balancer.strays.learning(), diverting(world.balancer.services)):
        looked.clear()
        counts = [len(looked) for _ in steps]
        assert len(looked) == 200
        assert {after - before for before, after in pairwise(counts)} <= {0, 1}


def test_what_is_diverted_is_the_same_in_steps_while_servers_go() -> None:
    world = World()
    service = world.serve(servers=20)
    before = diverted(world.balancer.services)
    steps = diverting(world.balancer.services)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
            break
        if service.servers:
            server = service.servers[-1]
            world.apply(RemoveServer(service.key, *server.config.place))
    assert found.sets["endpoints"] == before.endpoints
    assert found.sets["servers"] >= diverted(world.balancer.services).servers
    assert found.sets["servers"] <= before.servers
