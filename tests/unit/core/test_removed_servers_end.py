"""With expire_nodest_conn, what a removed server leaves ends soon, and not while packets wait."""

from __future__ import annotations

import pytest

from lvsd.core import upkeep
from tests.unit.core.world import World

pytestmark = pytest.mark.parametrize("version", [4, 6])


def _left(version: int) -> World:
    """Return a world with three connections of a removed server."""
    world = World(version)
    world.settings.expire_nodest_conn = True
    service = world.serve()
    for cport in range(1, 4):
        world.establish(cport=cport)
    world.remove_server(service)
    return world


def test_the_removal_itself_ends_none_and_the_next_second_all(version: int) -> None:
    world = _left(version)
    assert len(world.states()) == 3
    world.wait(1)
    assert world.states() == []


def test_a_turn_looks_at_so_many_and_says_that_there_are_more(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "ENDED_TOGETHER", 1)
    monkeypatch.setattr(upkeep, "ENDED_AT_ONCE", 3)
    world = _left(version)
    assert world.balancer.tick(world.now)
    assert len(world.states()) == 1
