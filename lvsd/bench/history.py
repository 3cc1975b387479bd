"""A bounded history of connections that kernel IPVS can be asked about, and its replay on ours.

The kernel ends an entry up to a quarter of a second later than its timeout says. So all times are
multiples of `STEP_S`: what opened or ended at one of them is forgotten `LINGER_S` later, in the
midst between two others, and nobody's picks depend on when exactly.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from lvsd.bench.estimate import jain, percentile
from lvsd.bench.quality import off_weight
from schedulers.base import Flow, Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.bench.farm import Farm
    from lvsd.bench.workloads import Arrival
    from schedulers.base import Server

STEP_S: Final = 0.8
LINGER_S: Final = 10.0
"""The timeout of TCP's state CLOSE, which a RST leads to; no multiple of the step, nor near one."""
DRIFT_S: Final = 0.3
"""So much longer than meant such a timeout's time may have been for the kernel."""

MOST_SERVERS: Final = 60
MOST_CONNECTIONS: Final = 1500
VIPS: Final = {
    4: int(ipaddress.IPv4Address("192.0.2.0")),
    6: int(ipaddress.IPv6Address("2001:db8:f::")),
}
MOST_VIPS: Final = 250

Event = tuple[float, Literal["end", "open"], int]


@dataclass(frozen=True, slots=True)
class History:
    """Connections, and when they open and end, in order."""

    version: Literal[4, 6]
    flows: tuple[Flow, ...]
    events: tuple[Event, ...]

    def question(self, services: Sequence[tuple[str, Sequence[int]]]) -> dict[str, Any]:
        """Return what `tests.kernel.picks` wants to know, of schedulers with their weights."""
        return {
            "version": self.version,
            "connections": [
                [_text(flow.source), flow.source_port, _text(flow.destination)]
                for flow in self.flows
            ],
            "events": self.events,
            "services": [
                {"scheduler": scheduler, "weights": list(weights)}
                for scheduler, weights in services
            ],
        }


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a history: the servers by connection, and what they make of the load."""

    picks: tuple[int | None, ...]
    jain: float
    elsewhere: float
    imbalance_p50: float
    imbalance_p99: float


def history(arrivals: Sequence[Arrival], most: int = MOST_CONNECTIONS) -> History:
    """Return the first connections of a workload, their times rounded; the last one ends it."""
    taken = arrivals[:most]
    version: Literal[4, 6] = 4 if len(taken[0].flow.source) == 4 else 6
    vips: dict[bytes, bytes] = {}
    flows: list[Flow] = []
    steps: list[tuple[int, Literal["end", "open"], int]] = []
    last = round(taken[-1].at_s / STEP_S)
    for number, (at_s, ends_s, flow) in enumerate(taken):
        vip = vips.setdefault(flow.destination, _vip(len(vips), version))
        flows.append(Flow(flow.source, flow.source_port, vip, flow.destination_port))
        opens = round(at_s / STEP_S)
        ends = max(opens + 1, round(ends_s / STEP_S))
        steps.append((opens, "open", number))
        if ends <= last:
            steps.append((ends, "end", number))
    steps.sort()
    return History(
        version,
        tuple(flows),
        tuple((round(step * STEP_S, 6), what, number) for step, what, number in steps),
    )


class Dictated(Scheduler):
    """Picks what it was told beforehand: the places of servers, connection by connection."""

    name = "dictated"

    def __init__(self, picks: Sequence[int | None]) -> None:
        super().__init__()
        self._picks = iter(picks)
        self._servers: list[Server] = []

    def add(self, server: Server) -> None:
        """Take in the server of the next place."""
        self._servers.append(server)

    def remove(self, server: Server) -> None:
        """Forget a server."""
        self._servers.remove(server)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - it was told before
        """Return what was said for the next connection."""
        place = next(self._picks)
        return None if place is None else self._servers[place]


def replay(story: History, farm: Farm) -> Played:
    """Play a history to a farm that is new."""
    picks: list[int | None] = [None] * len(story.flows)
    servers: dict[int, Server] = {}
    closing: list[tuple[float, Server]] = []
    loads = [0.0] * len(farm.servers)
    imbalances = []
    now = ticked = 0.0
    for at_s, what, number in story.events:
        if at_s > now:
            imbalances.append(_sample(farm, loads))
            now = at_s
            while closing and closing[0][0] <= now:
                farm.close(closing.pop(0)[1])
            while ticked + 1 <= now:
                ticked += 1
                farm.scheduler.tick(ticked)
        if what == "end":
            server = servers.pop(number, None)
            if server is not None:
                farm.end(server)
                closing.append((now + LINGER_S, server))
            continue
        place = farm.connect(story.flows[number], now)
        picks[number] = place
        if place is not None:
            servers[number] = farm.servers[place]
    imbalances.append(_sample(farm, loads))
    counts = [picks.count(place) for place in range(len(farm.servers))]
    known = [value for value in imbalances if value is not None] or [1.0]
    return Played(
        tuple(picks),
        jain(loads),
        off_weight(counts, farm.weights),
        percentile(known, 50),
        percentile(known, 99),
    )


def _sample(farm: Farm, loads: list[float]) -> float | None:
    present = [
        server.active / weight for server, weight in zip(farm.servers, farm.weights, strict=True)
    ]
    for place, load in enumerate(present):
        loads[place] += load
    mean = sum(present) / len(present)
    return max(present) / mean if mean else None


def _vip(number: int, version: int) -> bytes:
    value = VIPS[version] + 1 + number % MOST_VIPS
    return value.to_bytes(4 if version == 4 else 16, "big")


def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))
