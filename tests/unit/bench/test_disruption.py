"""Who moves is asked of a service that is as full as the simulation's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.bench.disruption import ASKED, moves
from lvsd.bench.farm import Farm
from schedulers.rr import RoundRobin

if TYPE_CHECKING:
    from schedulers.base import Flow, Server


class Watching(RoundRobin):
    """Notes how many connections are active at each pick."""

    def __init__(self) -> None:
        super().__init__()
        self.members: set[Server] = set()
        self.active: list[int] = []

    def add(self, server: Server) -> None:
        """Watch it."""
        super().add(server)
        self.members.add(server)

    def pick(self, flow: Flow, now: float) -> Server | None:
        """Note, and pick."""
        self.active.append(sum(server.active for server in self.members))
        return super().pick(flow, now)


@pytest.mark.parametrize("active", [ASKED // 2, ASKED, 2 * ASKED + 500])
def test_all_connections_are_open_in_the_rounds_that_are_compared(active: int) -> None:
    scheduler = Watching()
    farm = Farm(scheduler, (1, 1, 1))
    moves(farm, active=active, victim=0, seed=1)
    compared = scheduler.active[-4 * ASKED : -2 * ASKED]
    assert set(compared) == {active}
