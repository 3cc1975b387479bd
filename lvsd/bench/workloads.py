"""Who connects when, and for how long: arrivals from a seed.

==========  ==========================================================================
steady      arrivals by a Poisson process, exponential lifetimes, 1,000 clients
churn       the same load by short connections, a fifth of the lifetime; of every five
            connections one is of a new client, in whose place an old one never returns
bursty      like steady, but nobody arrives for 15 s on average, then everybody in 5 s:
            both phases have exponential lengths
heavy-tail  like steady, but lifetimes by a Pareto distribution of shape 1.5: most are
            short, few very long; their variance is infinite
==========  ==========================================================================

All have the same mean number of active connections. Each connection has its own client port, and
goes to one of `DESTINATIONS` virtual addresses, which dh, lblc and lblcr look at.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.bench.chance import lots
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

CLIENTS: Final = 1000
DESTINATIONS: Final = 250
FIRST_CLIENT: Final = int(ipaddress.IPv4Address("100.64.0.1"))
FIRST_DESTINATION: Final = int(ipaddress.IPv4Address("192.0.2.1"))
PORT: Final = 80
FIRST_PORT: Final = 1024
PORTS: Final = 60_000

SHORTER: Final = 5
"""The lifetimes of churn are so many times shorter."""
NEW_CLIENT: Final = 0.2
ON_S: Final = 5.0
OFF_S: Final = 15.0
SHAPE: Final = 1.5

KINDS: Final = ("steady", "churn", "bursty", "heavy-tail")


class Arrival(NamedTuple):
    """A connection: when it opens and when it ends, in seconds."""

    at_s: float
    ends_s: float
    flow: Flow


def arrivals(
    kind: str, *, active: float, lifetime_s: float, duration_s: float, seed: int
) -> list[Arrival]:
    """Return all arrivals of a time, in order; ``active`` connections are there on average."""
    chance = lots("arrivals", kind, seed)
    if kind == "churn":
        lifetime_s /= SHORTER
    times = _poisson(chance, active / lifetime_s, duration_s)
    if kind == "bursty":
        times = _on_off(chance, active / lifetime_s, duration_s)
    client = _churning(chance) if kind == "churn" else lambda: chance.randrange(CLIENTS)
    lifetime = _pareto if kind == "heavy-tail" else _exponential
    found = []
    for serial, at_s in enumerate(times):
        flow = flow_of(client(), serial, chance.randrange(DESTINATIONS))
        found.append(Arrival(at_s, at_s + lifetime(chance, lifetime_s), flow))
    return found


def expected(kind: str, *, active: float, lifetime_s: float, duration_s: float) -> float:
    """Return about how many arrivals there will be."""
    return active / lifetime_s * duration_s * (SHORTER if kind == "churn" else 1)


def flow_of(client: int, serial: int, destination: int) -> Flow:
    """Return the flow of a client's connection, by their numbers."""
    return Flow(
        (FIRST_CLIENT + client).to_bytes(4, "big"),
        FIRST_PORT + serial % PORTS,
        (FIRST_DESTINATION + destination).to_bytes(4, "big"),
        PORT,
    )


def _poisson(chance: Random, rate: float, duration_s: float) -> Iterator[float]:
    now = chance.expovariate(rate)
    while now < duration_s:
        yield now
        now += chance.expovariate(rate)


def _on_off(chance: Random, rate: float, duration_s: float) -> Iterator[float]:
    """Yield the same number of times, but only while it is on."""
    begin = 0.0
    while begin < duration_s:
        end = begin + chance.expovariate(1 / ON_S)
        for after in _poisson(chance, rate * (ON_S + OFF_S) / ON_S, end - begin):
            if begin + after < duration_s:
                yield begin + after
        begin = end + chance.expovariate(1 / OFF_S)


def _churning(chance: Random) -> Callable[[], int]:
    present = list(range(CLIENTS))
    newest = CLIENTS - 1

    def client() -> int:
        nonlocal newest
        place = chance.randrange(CLIENTS)
        if chance.random() < NEW_CLIENT:
            newest += 1
            present[place] = newest
        return present[place]

    return client


def _exponential(chance: Random, mean: float) -> float:
    return chance.expovariate(1 / mean)


def _pareto(chance: Random, mean: float) -> float:
    return chance.paretovariate(SHAPE) * mean * (SHAPE - 1) / SHAPE
