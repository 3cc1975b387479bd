"""What ``lvsd bench schedulers`` is to measure, and all of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from lvsd.bench import memory, speed
from lvsd.bench.quality import Case, figures, quality
from lvsd.bench.workloads import arrivals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lvsd.bench.memory import Memory
    from lvsd.bench.plugins import Candidate
    from lvsd.bench.quality import Figures, Quality
    from lvsd.bench.speed import Speed
    from lvsd.bench.weights import Weights
    from lvsd.bench.workloads import Arrival

Measured = TypeVar("Measured")

SPEED: Final = "speed"
MEMORY: Final = "memory"
QUALITY: Final = "quality"
PARTS: Final = (SPEED, MEMORY, QUALITY)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to measure. ``workload`` is one of `workloads.KINDS`, or ``trace``, with its arrivals.

    ``servers`` are the numbers of servers for speed and memory, ``simulated`` that of the
    simulation; ``load`` is the mean number of active connections per unit of weight.
    """

    candidates: tuple[Candidate, ...]
    parts: tuple[str, ...]
    servers: tuple[int, ...]
    simulated: int
    weights: Weights
    seeds: tuple[int, ...]
    workload: str
    trace: Path | None
    traced: Sequence[Arrival]
    load: float
    lifetime_s: float
    duration_s: float
    linger_s: float
    turns: int

    @property
    def steps(self) -> int:
        """How often `run` says what it does next."""
        sizes = len(self.servers) * ((SPEED in self.parts) + (MEMORY in self.parts))
        seeds = len(self.seeds) * (QUALITY in self.parts)
        return len(self.candidates) * (sizes + seeds)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured; a part that was not asked for is empty."""

    speed: tuple[Speed, ...]
    memory: tuple[Memory, ...]
    quality: tuple[Quality, ...]
    ideal_moves: tuple[float, ...]
    window_s: float
    active: tuple[float, ...]


def run(selection: Selection, say: Callable[[str], None]) -> Results:
    """Measure; ``say`` is told what comes next. Raise LvsdError for what cannot be measured."""
    speeds: list[Speed] = []
    if SPEED in selection.parts:
        speeds = _at_each_size(
            selection, say, SPEED, lambda one, weights: speed.measure(one, weights, selection.turns)
        )
    memories: list[Memory] = []
    if MEMORY in selection.parts:
        memories = _at_each_size(selection, say, MEMORY, memory.measure)
    by_scheduler: dict[str, list[Figures]] = {each.name: [] for each in selection.candidates}
    ideal_moves, active, window_s = [], [], 0.0
    # Seed by seed, as a seed's connections may fill much of the memory there is.
    for seed in selection.seeds if QUALITY in selection.parts else ():
        case = _case(selection, seed)
        ideal_moves.append(case.weights[case.victim] / sum(case.weights))
        active.append(case.active)
        window_s = case.window_s
        for candidate in selection.candidates:
            say(f"{candidate.name}: {selection.workload}, seed {seed}")
            by_scheduler[candidate.name].append(figures(candidate, case))
    return Results(
        tuple(speeds),
        tuple(memories),
        tuple(quality(name, seeds) for name, seeds in by_scheduler.items() if seeds),
        tuple(ideal_moves),
        window_s,
        tuple(active),
    )


def _case(selection: Selection, seed: int) -> Case:
    weights = tuple(selection.weights.deal(selection.simulated, seed))
    coming = selection.traced or arrivals(
        selection.workload,
        active=selection.load * sum(weights),
        lifetime_s=selection.lifetime_s,
        duration_s=selection.duration_s,
        seed=seed,
    )
    return Case(seed, weights, coming, selection.duration_s, selection.linger_s)


def _at_each_size(
    selection: Selection,
    say: Callable[[str], None],
    part: str,
    measure: Callable[[Candidate, Sequence[int]], Measured],
) -> list[Measured]:
    """Measure each scheduler with each number of servers."""
    found = []
    for servers in selection.servers:
        weights = selection.weights.deal(servers, selection.seeds[0])
        for candidate in selection.candidates:
            say(f"{candidate.name}: {part}, {servers:,} servers")
            found.append(measure(candidate, weights))
    return found
