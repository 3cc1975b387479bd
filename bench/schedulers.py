"""Picks of every scheduler, for ``micro`` and ``compare``.

The tables are those of ``lvsd bench schedulers``. Its loads, in `lvsd.bench.speed`, are much like
these, but belong to the packages that are compared: they differ from revision to revision, and
older ones have none. These are the same for both sides, and take CPU time.

Two kinds of load, both with weights from 1 to 10, mixed, and 10,000 clients:

- rr wrr sh dh mh fo: picks, one after the other.
- lc wlc sed nq ovf lblc lblcr: at every pick, in turn, the picked server gets a connection
  (open, activate, changed) or one of 20,000 standing connections, by lot, ends (deactivate,
  changed, close, changed). ovf's weights are 100 times the others', so that it is never full.
"""

from __future__ import annotations

import random
from functools import partial
from itertools import cycle, islice
from time import process_time
from typing import TYPE_CHECKING, TypeAlias

from bench.harness import Case, Turn
from schedulers import BUILT_IN
from schedulers.base import Flow, Scheduler, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Load: TypeAlias = Callable[[Scheduler, list[Server]], Turn]

SERVERS = (10, 1000)
CLIENTS = 10_000
STANDING = 20_000
SEED = 20260101

# Lists, as the schedulers of older revisions do not say themselves what they look at.
PICKS_ONLY = ["rr", "wrr", "sh", "dh", "mh", "fo"]
WITH_CONNECTIONS = ["lc", "wlc", "sed", "nq", "ovf", "lblc", "lblcr"]


def cases() -> list[Case]:
    """Return the benchmarks of group ``schedulers``; what they measure is a pick each."""
    return [
        Case(f"schedulers-{name}-{servers}", partial(_turn, load, name, servers))
        for load, names in ((picks_only, PICKS_ONLY), (picks_and_connections, WITH_CONNECTIONS))
        for name in names
        for servers in SERVERS
    ]


def _turn(load: Load, name: str, servers: int) -> Turn:
    scheduler = BUILT_IN[name]()
    return load(scheduler, populate(scheduler, servers))


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
        begin = process_time()
        for flow in batch:
            pick(flow, 0.0)
        return process_time() - begin

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
        begin = process_time()
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
        return process_time() - begin

    return turn
