"""Picks per second.

The load has 10,000 clients, all different, to as many destinations:

- rr wrr sh dh mh fo, which know no counts: picks, one after the other.
- all others: at every pick, in turn, the picked server gets a connection (open, activate,
  changed) or one of the standing connections, by lot, ends (deactivate, changed, close, changed).
  These are 20 per server, 20,000 at most. ovf's weights are 100 times the others', so that it is
  never full.

A turn takes about `TURN_S`. Each gives one value, for the machine may be busy with something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

from lvsd.bench.chance import lots
from lvsd.bench.estimate import Estimate, estimate
from lvsd.bench.farm import PORT, address
from lvsd.bench.plugins import blame
from lvsd.bench.workloads import flow_of
from lvsd.errors import PluginError
from schedulers.base import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvsd.bench.plugins import Candidate
    from schedulers.base import Flow, Scheduler

TURN_S: Final = 0.03
CLIENTS: Final = 10_000
STANDING_EACH: Final = 20
MOST_STANDING: Final = 20_000
OVF_FACTOR: Final = 100


@dataclass(frozen=True, slots=True)
class Speed:
    """Picks per second of a scheduler that has so many servers."""

    scheduler: str
    servers: int
    picks_per_s: Estimate


def measure(candidate: Candidate, weights: Sequence[int], turns: int) -> Speed:
    """Measure with servers of these weights. Raise PluginError when the scheduler fails in it."""
    scheduler = candidate.make()
    with blame(candidate):
        servers = populate(candidate, scheduler, weights)
        load = picks_and_connections if scheduler.asks_counts else picks_only
        turn = load(scheduler, servers)
        _try_out(scheduler, servers)
        turn(1)
        picks = calibrate(turn)
        rates = [picks / turn(picks) for _ in range(turns)]
    return Speed(candidate.name, len(weights), estimate(rates))


def populate(candidate: Candidate, scheduler: Scheduler, weights: Sequence[int]) -> list[Server]:
    """Let servers of these weights join."""
    factor = OVF_FACTOR if candidate.name == "ovf" else 1
    servers = [
        Server(address(number), PORT, factor * weight) for number, weight in enumerate(weights, 1)
    ]
    for server in servers:
        scheduler.add(server)
    return servers


def _try_out(scheduler: Scheduler, servers: list[Server]) -> None:
    """Raise PluginError for a pick of what is no server; the turns do not look."""
    server = scheduler.pick(flow_of(0, 0, 0), 0.0)
    if server is not None and not any(server is each for each in servers):
        raise PluginError(f"pick returned {server!r:.60}, a server that was never added")


def calibrate(turn: Callable[[int], float]) -> int:
    """Return the number of picks that takes about `TURN_S`."""
    picks = 1
    while (taken := turn(picks)) < TURN_S / 4:
        picks *= 2
    return max(1, int(picks * TURN_S / taken))


@cache
def _flows() -> tuple[Flow, ...]:
    return tuple(flow_of(serial, serial, serial) for serial in range(CLIENTS))


def picks_only(scheduler: Scheduler, _servers: list[Server]) -> Callable[[int], float]:
    """Return a turn of nothing but picks."""
    clients = cycle(_flows())

    def turn(picks: int) -> float:
        pick = scheduler.pick
        batch = list(islice(clients, picks))
        begin = perf_counter()
        for flow in batch:
            pick(flow, 0.0)
        return perf_counter() - begin

    return turn


def picks_and_connections(scheduler: Scheduler, servers: list[Server]) -> Callable[[int], float]:
    """Return a turn of picks, half of them with a new connection, half with the end of one."""
    chance = lots("speed", len(servers))
    clients = cycle(_flows())
    standing: list[Server] = []
    for _ in range(min(MOST_STANDING, STANDING_EACH * len(servers))):
        server = chance.choice(servers)
        server.open()
        server.activate()
        scheduler.changed(server)
        standing.append(server)

    def turn(picks: int) -> float:
        pick, changed = scheduler.pick, scheduler.changed
        draw = chance.random  # far quicker than randrange
        batch = [(flow, int(MOST_STANDING * draw())) for flow in islice(clients, picks)]
        connect = True
        begin = perf_counter()
        for flow, lot in batch:
            server = pick(flow, 0.0)
            if connect:
                if server is not None:
                    if server.__class__ is not Server:
                        raise PluginError(f"pick returned {server!r:.60}, which is no server")
                    server.open()
                    server.activate()
                    changed(server)
                    standing.append(server)
            elif standing:
                place = lot % len(standing)
                server, standing[place] = standing[place], standing[-1]
                standing.pop()
                server.deactivate()
                changed(server)
                server.close()
                changed(server)
            connect = not connect
        return perf_counter() - begin

    return turn
