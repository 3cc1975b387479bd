"""Ways are learned a slice at a time, and what was asked for meanwhile once more."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from forwarders import Tun
from lvsd.assembly import diverted, diverting
from lvsd.core import replies
from lvsd.core.commands import RemoveServer
from lvsd.core.values import ANY_MTU
from lvsd.errors import KernelError
from lvsd.io import routes
from lvsd.packet.address import pack
from lvsd.running.complaints import Complaints
from lvsd.running.learning import COMPLAINT, Learning, learn_ways
from lvsd.turns import Turns
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pytest

    from forwarders.base import Forwarder
    from lvsd.core.service import RealServer


def _learning(steps: Callable[[], Iterator[None]]) -> Learning:
    return Learning(steps, Turns(), Complaints(lambda: 0.0))


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
        learning = _learning(steps)
        others = asyncio.create_task(packets())
        learning.soon()
        await learning.done()
        others.cancel()

    asyncio.run(scenario())
    assert len(turns) == 50
    assert min(turns) > 0


def test_changes_while_ways_are_learned_are_learned_once_afterwards() -> None:
    begun: list[int] = []
    learning: list[Learning] = []

    def steps() -> Iterator[None]:
        begun.append(1)
        yield
        if len(begun) == 1:
            for _ in range(5):
                learning[0].soon()
        yield

    async def scenario() -> None:
        learning.append(_learning(steps))
        learning[0].soon()
        await learning[0].done()

    asyncio.run(scenario())
    assert len(begun) == 2


def test_a_failure_is_told_and_its_end_too() -> None:
    fails = [True]

    def steps() -> Iterator[None]:
        yield
        if fails:
            raise KernelError("look up routes", "busy", "try again")

    async def scenario() -> None:
        learning = _learning(steps)
        learning.soon()
        await learning.done()
        fails.clear()
        learning.soon()
        await learning.done()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [line["event"] for line in logs] == [COMPLAINT, "a fault is over"]


def test_servers_may_go_while_the_ways_to_them_are_learned_and_the_gone_ones_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    service = world.serve(forwarder=Tun(), servers=3)
    world.leave(world.from_client())
    source = pack("10.9.9.9")

    def answers(addresses: Iterable[bytes]) -> Iterator[tuple[bytes, int | None, bytes | None]]:
        for address in addresses:
            yield address, None, source

    monkeypatch.setattr(routes, "link_mtus", lambda: {7: 1400})
    monkeypatch.setattr(routes, "local_addresses", lambda: {(7, pack(world.rip(2)))})
    monkeypatch.setattr(routes, "mtus_and_sources", answers)
    servers = list(service.servers)
    steps = learn_ways(world.balancer)
    next(steps)
    used = next(each for each in servers if each.total)
    world.apply(RemoveServer(service.key, *used.config.place))
    for _ in steps:
        world.apply(*(RemoveServer(service.key, *each.config.place) for each in service.servers))
    assert world.balancer.network.link_mtus == {7: 1400}
    assert {each.way.source for each in servers} == {source}
    assert [each.way.is_local for each in servers] == [
        each.address == pack(world.rip(2)) for each in servers
    ]
    assert {each.mtu for each in servers} == {ANY_MTU}


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
    assert found.endpoints == before.endpoints
    assert found.servers >= diverted(world.balancer.services).servers
    assert found.servers <= before.servers
