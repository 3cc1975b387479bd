"""A service's life in virtual time, driven by events; the scheduler is the real one.

A connection opens, is active until it ends, stays as an inactive entry for the linger time, and
is forgotten. That is what IPVS counts: active from the SYN on, inactive once RST or FIN has come,
and gone after that state's timeout, 10 s of CLOSE or 120 s of TIME_WAIT.

One run has four parts, by the time that it lasts::

    0 %           20 %                            60 %      70 %                        100 %
    | warming up  | measured                      | one     | it is back, empty,        |
    |             |                               | server  | and recovers              |
    |             |                               | is out  |                           |

The server that fails is drawn by the seed. Its connections are lost, and do not come back.
Samples are taken 300 times; the scheduler's `tick` is called once a second.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.bench.farm import Farm
    from lvsd.bench.workloads import Arrival
    from schedulers.base import Server

SAMPLES: Final = 300
MEASURED_FROM: Final = 60
FAILS_AT: Final = 180
BACK_AT: Final = 210
"""In samples."""

RECOVERED: Final = 0.9
"""A server is itself again when it has so much of the mean load per weight."""


@dataclass(slots=True)
class Course:
    """What was seen of one run; places are those of the farm.

    ``picks`` and ``loads`` are of the measured part: connections that a server was given, and the
    sum over its samples of active/weight. ``imbalances`` has one entry per sample of all parts,
    None when no connection was active. ``recovered_s`` is None when the time was over before.
    """

    picks: list[int]
    loads: list[float]
    refused: int = 0
    imbalances: list[float | None] = field(default_factory=list)
    recovered_s: float | None = None
    worst_run: int = 0


class Simulation:
    """One run of a farm; ``victim`` is the place of the server that fails."""

    def __init__(self, farm: Farm, *, duration_s: float, linger_s: float, victim: int) -> None:
        count = len(farm.servers)
        self.course = Course([0] * count, [0.0] * count)
        self._farm = farm
        self._duration_s = duration_s
        self._linger_s = linger_s
        self._victim = victim
        self._ends: list[tuple[float, int, Server]] = []
        self._closes: deque[tuple[float, Server]] = deque()
        self._sampled = 0
        self._next_sample_s = duration_s / SAMPLES
        self._ticked_s = 0.0
        self._back_s: float | None = None
        self._run = 0

    def play(self, arrivals: Iterable[Arrival]) -> Course:
        """Let all connections come that arrive in time; return what was seen."""
        farm, course = self._farm, self.course
        for serial, (at_s, ends_s, flow) in enumerate(arrivals):
            if at_s > self._duration_s:
                break
            self._advance(at_s)
            place = farm.connect(flow, at_s)
            measured = MEASURED_FROM <= self._sampled < FAILS_AT
            if place is None:
                course.refused += measured
            else:
                course.picks[place] += measured
                heappush(self._ends, (ends_s, serial, farm.servers[place]))
            if self._back_s is not None:
                self._note_return(place, at_s)
        self._advance(self._duration_s)
        return course

    def _advance(self, now: float) -> None:
        """Let everything happen that is due, in order of time; of one time, ends come first."""
        farm, ends, closes = self._farm, self._ends, self._closes
        while True:
            end_s = ends[0][0] if ends else math.inf
            close_s = closes[0][0] if closes else math.inf
            due_s = min(end_s, close_s, self._next_sample_s)
            if due_s > now:
                return
            if close_s == due_s:
                farm.close(closes.popleft()[1])
            elif end_s == due_s:
                _, _, server = heappop(ends)
                farm.end(server)
                closes.append((end_s + self._linger_s, server))
            else:
                self._sample(due_s)

    def _sample(self, now: float) -> None:
        self._sampled += 1
        more = self._sampled < SAMPLES
        self._next_sample_s = (self._sampled + 1) * self._duration_s / SAMPLES if more else math.inf
        while self._ticked_s + 1 <= now:
            self._ticked_s += 1
            self._farm.scheduler.tick(self._ticked_s)
        self._look()
        if self._sampled == FAILS_AT:
            self._farm.remove(self._victim)
        elif self._sampled == BACK_AT:
            self._farm.restore(self._victim)
            self._back_s = now
        elif self._back_s is not None:
            self._note_recovery(now)

    def _look(self) -> None:
        course, loads = self.course, self._loads()
        mean = sum(loads) / len(loads)
        course.imbalances.append(max(loads) / mean if mean else None)
        if MEASURED_FROM < self._sampled <= FAILS_AT:
            for place, load in enumerate(loads):
                course.loads[place] += load

    def _loads(self) -> list[float]:
        """Return active/weight of the servers that are in, by their places if all are."""
        farm = self._farm
        return [
            server.active / weight
            for place, (server, weight) in enumerate(zip(farm.servers, farm.weights, strict=True))
            if farm.is_in(place)
        ]

    def _note_return(self, place: int | None, now: float) -> None:
        """Count how many connections in a row the server is given that has come back."""
        if place != self._victim:
            self._run = 0
            return
        self._run += 1
        self.course.worst_run = max(self.course.worst_run, self._run)
        self._note_recovery(now)

    def _note_recovery(self, now: float) -> None:
        loads = self._loads()
        least = RECOVERED * sum(loads) / len(loads)
        if self._back_s is not None and least and loads[self._victim] >= least:
            self.course.recovered_s = now - self._back_s
            self._back_s = None
