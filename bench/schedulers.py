"""Picks per second of every scheduler, next to its rule spelled out.

Three kinds of load, all with weights from 1 to 10, mixed, and 10,000 clients:

- rr wrr sh dh mh fo: picks, one after the other.
- lc wlc sed nq ovf lblc lblcr: at every pick, in turn, the picked server gets a connection
  (open, activate, changed) or one of 20,000 standing connections, by lot, ends (deactivate,
  changed, close, changed). ovf's weights are 100 times the others', so that it is never full.

Every figure is the median of several turns of about a tenth of a second, the two sides taking
turns, for the machine may be busy with something else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from bench.report import Table, count
from schedulers import BUILT_IN
from schedulers.base import Flow, Scheduler, Server
from tests.property.schedulers.literal import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURNS = 7
TURN_S = 0.1
CLIENTS = 10_000
STANDING = 20_000
SEED = 20260101

PICKS_ONLY = ["rr", "wrr", "sh", "dh", "mh", "fo"]
WITH_CONNECTIONS = ["lc", "wlc", "sed", "nq", "ovf", "lblc", "lblcr"]


@dataclass(frozen=True, slots=True)
class Result:
    """Picks per second of a scheduler as built and of its rule spelled out."""

    name: str
    picks_per_s: float
    literal_picks_per_s: float


def run(servers: int = 1000) -> list[Result]:
    """Measure every scheduler with so many servers; about half a minute."""
    return [
        *(measure(name, servers, picks_only) for name in PICKS_ONLY),
        *(measure(name, servers, picks_and_connections) for name in WITH_CONNECTIONS),
    ]


def measure(
    name: str, servers: int, load: Callable[[Scheduler, list[Server]], Callable[[int], float]]
) -> Result:
    """Measure both sides of one scheduler, turn about."""
    sides = []
    for scheduler in (BUILT_IN[name](), RULES[name]()):
        turn = load(scheduler, populate(scheduler, servers))
        turn(1)
        sides.append((turn, calibrate(turn), list[float]()))
    for _ in range(TURNS):
        for turn, picks, rates in sides:
            rates.append(picks / turn(picks))
    fast, literal = (median(rates) for _, _, rates in sides)
    return Result(name, fast, literal)


def calibrate(turn: Callable[[int], float]) -> int:
    """Return the number of picks that takes about `TURN_S`."""
    picks = 1
    while (taken := turn(picks)) < TURN_S / 4:
        picks *= 2
    return max(1, int(picks * TURN_S / taken))


def populate(scheduler: Scheduler, count: int) -> list[Server]:
    """Let ``count`` servers of mixed weights join."""
    lots = random.Random(SEED)
    scale = 100 if scheduler.name == "ovf" else 1
    servers = []
    for serial in range(count):
        address = (10 << 24 | serial).to_bytes(4, "big")
        server = Server(address, 80, scale * lots.randint(1, 10))
        scheduler.add(server)
        servers.append(server)
    return servers


def flows(count: int) -> Iterator[Flow]:
    """Yield flows of ``count`` clients, all different, to as many destinations."""
    for serial in range(count):
        client = (100 << 24 | serial).to_bytes(4, "big")
        yield Flow(client, 1024 + serial % 60_000, (198 << 24 | serial).to_bytes(4, "big"), 80)


def picks_only(scheduler: Scheduler, _servers: list[Server]) -> Callable[[int], float]:
    """Return a turn of nothing but picks."""
    clients = cycle(list(flows(CLIENTS)))

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
    lots = random.Random(SEED)
    clients = cycle(list(flows(CLIENTS)))
    standing: list[Server] = []
    for _ in range(STANDING):
        server = lots.choice(servers)
        server.open()
        server.activate()
        scheduler.changed(server)
        standing.append(server)

    def turn(picks: int) -> float:
        pick, changed = scheduler.pick, scheduler.changed
        batch = [(flow, lots.randrange(STANDING)) for flow in islice(clients, picks)]
        connect = True
        begin = perf_counter()
        for flow, lot in batch:
            server = pick(flow, 0.0)
            if connect and server is not None:
                server.open()
                server.activate()
                changed(server)
                standing.append(server)
            else:
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


def tables() -> list[Table]:
    """Measure, and return the table."""
    rows = [
        (
            result.name,
            count(result.picks_per_s),
            count(result.literal_picks_per_s),
            f"{result.picks_per_s / result.literal_picks_per_s:,.1f}",
        )
        for result in run()
    ]
    columns = ("scheduler", "picks/s", "the rule spelled out, O(n)", "ratio")
    return [
        Table("schedulers", "Picks/s, 1,000 servers", "python -m bench schedulers", columns, rows)
    ]
