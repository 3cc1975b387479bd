"""What ``lvsd bench schedulers`` is to measure, and all of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.bench import kernel, memory, speed
from lvsd.bench.quality import Case, figures, quality
from lvsd.bench.workloads import arrivals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lvsd.bench.kernel import Compared
    from lvsd.bench.memory import Memory
    from lvsd.bench.plugins import Candidate
    from lvsd.bench.quality import Quality
    from lvsd.bench.speed import Speed
    from lvsd.bench.weights import Weights
    from lvsd.bench.workloads import Arrival

SPEED: Final = "speed"
MEMORY: Final = "memory"
QUALITY: Final = "quality"
PARTS: Final = (SPEED, MEMORY, QUALITY)


@dataclass(frozen=True, slots=True)
class Plan:
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
    with_kernel: bool

    @property
    def steps(self) -> int:
        """How often `run` says what it does next."""
        sizes = len(self.servers) * ((SPEED in self.parts) + (MEMORY in self.parts))
        seeds = len(self.seeds) * (QUALITY in self.parts)
        return len(self.candidates) * (sizes + seeds) + self.with_kernel


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured; a part that was not asked for is empty."""

    speed: tuple[Speed, ...]
    memory: tuple[Memory, ...]
    quality: tuple[Quality, ...]
    kernel: Compared | None
    ideal_moves: tuple[float, ...]
    window_s: float
    active: tuple[float, ...]


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """Measure; ``say`` is told what comes next. Raise LvsdError for what cannot be measured.

    The kernel is asked first, since it may refuse.
    """
    cases = [] if QUALITY not in plan.parts and not plan.with_kernel else _cases(plan)
    compared = None
    if plan.with_kernel:
        say("the kernel, booted in qemu")
        compared = kernel.compare(plan.candidates, cases[0])
    return Results(
        tuple(_speeds(plan, say)) if SPEED in plan.parts else (),
        tuple(_memories(plan, say)) if MEMORY in plan.parts else (),
        tuple(_qualities(plan, cases, say)) if QUALITY in plan.parts else (),
        compared,
        tuple(case.weights[case.victim] / sum(case.weights) for case in cases),
        cases[0].window_s if cases else 0.0,
        tuple(case.active for case in cases),
    )


def _cases(plan: Plan) -> list[Case]:
    return [_case(plan, seed) for seed in plan.seeds]


def _case(plan: Plan, seed: int) -> Case:
    weights = tuple(plan.weights.deal(plan.simulated, seed))
    coming = plan.traced or arrivals(
        plan.workload,
        active=plan.load * sum(weights),
        lifetime_s=plan.lifetime_s,
        duration_s=plan.duration_s,
        seed=seed,
    )
    return Case(seed, weights, coming, plan.duration_s, plan.linger_s)


def _speeds(plan: Plan, say: Callable[[str], None]) -> list[Speed]:
    found = []
    for servers in plan.servers:
        weights = plan.weights.deal(servers, plan.seeds[0])
        for candidate in plan.candidates:
            say(f"{candidate.name}: speed, {servers:,} servers")
            found.append(speed.measure(candidate, weights, plan.turns))
    return found


def _memories(plan: Plan, say: Callable[[str], None]) -> list[Memory]:
    found = []
    for servers in plan.servers:
        weights = plan.weights.deal(servers, plan.seeds[0])
        for candidate in plan.candidates:
            say(f"{candidate.name}: memory, {servers:,} servers")
            found.append(memory.measure(candidate, weights))
    return found


def _qualities(plan: Plan, cases: Sequence[Case], say: Callable[[str], None]) -> list[Quality]:
    found = []
    for candidate in plan.candidates:
        seeds = []
        for case in cases:
            say(f"{candidate.name}: {plan.workload}, seed {case.seed}")
            seeds.append(figures(candidate, case))
        found.append(quality(candidate.name, seeds))
    return found
