"""Who goes to another server when one leaves or joins.

The same clients are asked for round after round, each time in another order, as clients come. Each
opens a connection, and the oldest one ends, so that there are always as many as in the simulation.

=======  ==============================================================
round 1  fills the service; it is repeated while there are more connections
         to open than clients
round 2  is compared with the next: nothing changes, yet some clients
         go elsewhere, where the scheduler does not look at the client
round 3
         a server is removed
round 4
         it is added again, without connections
round 5
=======  ==============================================================
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lvsd.bench.chance import lots
from lvsd.bench.workloads import DESTINATIONS, flow_of

if TYPE_CHECKING:
    from lvsd.bench.farm import Farm
    from schedulers.base import Server

ASKED = 2000


class Moves(NamedTuple):
    """Shares of the clients that went to another server than in the round before."""

    unchanged: float
    removed: float
    added: float


class _Round:
    """The clients, and the connections that are still there."""

    def __init__(self, farm: Farm, active: int, seed: int) -> None:
        self._farm = farm
        self._chance = lots("disruption", seed)
        self._clients = [
            flow_of(client, client, self._chance.randrange(DESTINATIONS)) for client in range(ASKED)
        ]
        self._active = active
        self._open: deque[Server] = deque()
        self._now = 0.0

    def fill(self) -> None:
        """Let everybody connect as often as it takes to have all connections open."""
        for _ in range(math.ceil(self._active / ASKED)):
            self.ask()

    def ask(self) -> list[int | None]:
        """Let every client connect once; return the servers' places, by client."""
        farm = self._farm
        places: list[int | None] = [None] * ASKED
        order = list(range(ASKED))
        self._chance.shuffle(order)
        for client in order:
            self._now += 1 / ASKED
            place = farm.connect(self._clients[client], self._now)
            places[client] = place
            if place is not None:
                self._open.append(farm.servers[place])
            while len(self._open) > self._active:
                server = self._open.popleft()
                farm.end(server)
                farm.close(server)
        farm.scheduler.tick(self._now)
        return places


def moves(farm: Farm, *, active: int, victim: int, seed: int) -> Moves:
    """Return who moved; ``active`` connections are open at any time, ``victim`` leaves."""
    clients = _Round(farm, max(1, active), seed)
    clients.fill()
    before, again = clients.ask(), clients.ask()
    farm.remove(victim)
    without = clients.ask()
    farm.restore(victim)
    return Moves(_moved(before, again), _moved(again, without), _moved(without, clients.ask()))


def _moved(before: list[int | None], after: list[int | None]) -> float:
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)
