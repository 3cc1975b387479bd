"""Bytes that a scheduler holds, by tracemalloc: by itself, and for each of its servers.

The servers are the service's and there before; what is counted is the scheduler's own. Every
server has two connections, opened one after the other, and one client has been picked for, since
some structures are only made then.
"""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.bench.farm import PORT, address
from lvsd.bench.plugins import blame
from lvsd.bench.workloads import flow_of
from schedulers.base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.bench.plugins import Candidate

CONNECTIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a scheduler without servers, with all of them, and divided by their number."""

    scheduler: str
    servers: int
    empty_bytes: int
    full_bytes: int
    bytes_per_server: float


def measure(candidate: Candidate, weights: Sequence[int]) -> Memory:
    """Measure with servers of these weights. Raise PluginError when the scheduler fails in it."""
    servers = [Server(address(number), PORT, weight) for number, weight in enumerate(weights, 1)]
    flow = flow_of(0, 0, 0)
    candidate.make()  # what a first one leaves in its class is not counted
    with blame(candidate):
        gc.collect()
        tracemalloc.start()
        try:
            before = _traced()
            scheduler = candidate.make()
            empty = _traced() - before
            for server in servers:
                scheduler.add(server)
            for _ in range(CONNECTIONS):
                for server in servers:
                    server.open()
                    server.activate()
                    scheduler.changed(server)
            scheduler.pick(flow, 0.0)
            full = _traced() - before
            return Memory(candidate.name, len(servers), empty, full, full / len(servers))
        finally:
            tracemalloc.stop()


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
