"""Whatever happens to connections, what is written down of them is what there is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from forwarders import Dr, Fullnat, Nat
from lvsd.core.local_pool import LocalPool
from lvsd.core.snapshot import Kind
from lvsd.packet.address import pack
from tests.unit.core.kept import ROOM, Slots, keep, resume, write_the_rest
from tests.unit.core.world import World

if TYPE_CHECKING:
    from forwarders.base import Forwarder

LIP = pack("10.0.0.200")
WAYS: dict[str, Forwarder] = {"nat": Nat(), "dr": Dr(), "fullnat": Fullnat("none")}

steps = st.lists(
    st.tuples(st.sampled_from(["S", "A", "FA", "R", "wait"]), st.integers(1, 6), st.integers(1, 2)),
    max_size=40,
)


def world_of(way: str, persistence_s: int) -> World:
    """Return a world with a service of three servers."""
    world = World()
    world.balancer.network.local_addresses = frozenset({LIP})
    forwarder = WAYS[way]
    options = {"local": LocalPool((LIP,), 5000, 5999)} if forwarder.per_connection else {}
    world.serve(forwarder=forwarder, servers=3, persistence_s=persistence_s, **options)  # type: ignore[arg-type]
    return world


def happen(world: World, what: str, client: int, port: int) -> None:
    """Let a client's packet come, or time go by."""
    if what == "wait":
        world.wait(client * client * 5.0)
        return
    segment = world.from_client(what, client=client, cport=40000 + port)
    world.handle(segment)
    if what == "A":
        world.handle(replace(segment, payload=b"more"))


def seen(world: World) -> set[tuple[bytes, bytes, int, bytes]]:
    """Return what tells the connections that there are."""
    return {
        (each.key, each.reply_key, each.state, each.path.server.address)
        for each in world.balancer.flows.table
    }


@given(st.sampled_from(sorted(WAYS)), st.sampled_from([0, 30]), steps)
def test_the_next_one_has_the_connections_templates_and_picks_that_there_were(
    way: str, persistence_s: int, happened: list[tuple[str, int, int]]
) -> None:
    slots, first, second = Slots(), world_of(way, persistence_s), world_of(way, persistence_s)
    keeper = keep(first, slots)
    for each in happened:
        happen(first, *each)
    assert first.balancer.flows.observers.fault is None
    write_the_rest(keeper)
    records = slots.records()
    table = first.balancer.flows.table
    assert len(records.get(Kind.CONNECTION, ())) == table.count
    assert len(records.get(Kind.TEMPLATE, ())) == table.template_count
    assert len(slots.free) + sum(map(len, records.values())) == ROOM

    second.now = first.now
    resumption, _ = resume(second, slots)
    assert resumption.dropped == {}
    assert seen(second) == seen(first)
    assert set(second.balancer.flows.table.templates) == set(table.templates)
    for one, other in zip(first.balancer.services, second.balancer.services, strict=True):
        assert one.meter.totals == other.meter.totals
        for mine, its in zip(one.servers, other.servers, strict=True):
            assert (mine.active, mine.total) == (its.active, its.total)
            assert mine.meter.totals == its.meter.totals
    for client in range(20, 24):
        syn = first.from_client(client=client)
        picked = [each.handle(syn) and _last_server(each) for each in (first, second)]
        assert picked[0] == picked[1]


def _last_server(world: World) -> bytes:
    """Return the server that the newest connection goes to."""
    *_, last = world.balancer.flows.table
    return last.path.server.address
