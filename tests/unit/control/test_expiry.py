"""What listings show of a connection's end while packets keep the daemon busy."""

from __future__ import annotations

from lvsd.control.describe import connection_entry
from tests.unit.core.world import World


def _shown(world: World) -> int:
    (row,) = world.balancer.connections()
    return connection_entry(row, world.balancer.now)["expires_s"]


def test_a_second_more_may_be_shown_until_the_clock_of_listings_moves() -> None:
    world = World()
    world.serve()
    world.handle(world.from_client())
    world.now += 0.9
    assert _shown(world) == 60
    world.tick()
    assert _shown(world) == 59
