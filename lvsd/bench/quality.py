"""How well a scheduler does its work: fairness, imbalance, disruption, recovery; seed by seed."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.bench.chance import lots
from lvsd.bench.disruption import moves
from lvsd.bench.estimate import Estimate, estimate, jain, percentile
from lvsd.bench.farm import Farm
from lvsd.bench.plugins import blame
from lvsd.bench.simulation import BACK_AT, FAILS_AT, MEASURED_FROM, SAMPLES, Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lvsd.bench.disruption import Moves
    from lvsd.bench.plugins import Candidate
    from lvsd.bench.simulation import Course
    from lvsd.bench.workloads import Arrival

BY_COUNT: Final = frozenset({"ovf", "lblc", "lblcr"})
"""Schedulers to which a weight is a number of active connections, not a share."""
HEADROOM: Final = 1.5
"""Their weights are multiplied so that all together bear so many times the mean load."""


@dataclass(frozen=True, slots=True)
class Case:
    """What happens to every scheduler alike: one seed's servers and clients."""

    seed: int
    weights: tuple[int, ...]
    arrivals: Sequence[Arrival]
    duration_s: float
    linger_s: float

    @property
    def active(self) -> float:
        """The mean number of active connections."""
        lasted = sum(
            min(ends_s, self.duration_s) - at_s
            for at_s, ends_s, _ in self.arrivals
            if at_s < self.duration_s
        )
        return lasted / self.duration_s

    @property
    def victim(self) -> int:
        """The place of the server that fails."""
        return lots("victim", self.seed).randrange(len(self.weights))

    @property
    def window_s(self) -> float:
        """How long a server that is back may take to recover."""
        return self.duration_s * (SAMPLES - BACK_AT) / SAMPLES


@dataclass(frozen=True, slots=True)
class Figures:
    """What one seed gives of one scheduler; shares are of 1."""

    weight_factor: int
    jain: float
    elsewhere: float
    refused: float
    imbalance_p50: float
    imbalance_p99: float
    imbalance_max: float
    moves: Moves
    recovered_s: float | None
    worst_run: int
    ratios: tuple[float, ...]
    imbalances: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """A scheduler's figures over all seeds.

    ``weight_factors`` are what `factor` returns, by seed; ``ratios`` each server's share of the
    connections over its share of the weights, of all seeds; ``imbalances`` the means over the
    seeds, sample by sample.
    """

    scheduler: str
    weight_factors: tuple[int, ...]
    jain: Estimate
    elsewhere: Estimate
    refused: Estimate
    imbalance_p50: Estimate
    imbalance_p99: Estimate
    imbalance_max: Estimate
    moved_unchanged: Estimate
    moved_removed: Estimate
    moved_added: Estimate
    recovered_s: Estimate | None
    recovered_seeds: int
    worst_run: Estimate
    ratios: tuple[float, ...]
    imbalances: tuple[float | None, ...]


def factor(name: str, case: Case) -> int:
    """Return what a scheduler's weights are multiplied by."""
    if name not in BY_COUNT:
        return 1
    return max(1, math.ceil(HEADROOM * case.active / sum(case.weights)))


def scaled(name: str, case: Case) -> list[int]:
    """Return the weights that a scheduler is given."""
    return [weight * factor(name, case) for weight in case.weights]


def figures(candidate: Candidate, case: Case) -> Figures:
    """Simulate one seed. Raise PluginError when the scheduler fails in it."""
    weights = scaled(candidate.name, case)
    scheduler, other = candidate.make(), candidate.make()
    with blame(candidate):
        course = Simulation(
            Farm(scheduler, weights),
            duration_s=case.duration_s,
            linger_s=case.linger_s,
            victim=case.victim,
        ).play(case.arrivals)
        moved = moves(
            Farm(other, weights), active=round(case.active), victim=case.victim, seed=case.seed
        )
    return _figures(factor(candidate.name, case), course, moved, weights)


def _figures(weight_factor: int, course: Course, moved: Moves, weights: Sequence[int]) -> Figures:
    picked = sum(course.picks)
    shares = [weight / sum(weights) for weight in weights]
    ratios = [
        picks / picked / share if picked else 1.0
        for picks, share in zip(course.picks, shares, strict=True)
    ]
    measured = [
        value for value in course.imbalances[MEASURED_FROM:FAILS_AT] if value is not None
    ] or [1.0]
    return Figures(
        weight_factor=weight_factor,
        jain=jain(course.loads),
        elsewhere=off_weight(course.picks, weights),
        refused=course.refused / max(1, picked + course.refused),
        imbalance_p50=percentile(measured, 50),
        imbalance_p99=percentile(measured, 99),
        imbalance_max=max(measured),
        moves=moved,
        recovered_s=course.recovered_s,
        worst_run=course.worst_run,
        ratios=tuple(ratios),
        imbalances=tuple(course.imbalances),
    )


def off_weight(picks: Sequence[int], weights: Sequence[int]) -> float:
    """Return the share of picks that would go to another server if all were by weight."""
    picked, heft = sum(picks), sum(weights)
    if not picked:
        return 0.0
    return sum(abs(pick / picked - w / heft) for pick, w in zip(picks, weights, strict=True)) / 2


def quality(scheduler: str, seeds: Sequence[Figures]) -> Quality:
    """Return the figures over all seeds, one or more."""
    recovered = [each.recovered_s for each in seeds if each.recovered_s is not None]
    return Quality(
        scheduler,
        tuple(each.weight_factor for each in seeds),
        jain=estimate(each.jain for each in seeds),
        elsewhere=estimate(each.elsewhere for each in seeds),
        refused=estimate(each.refused for each in seeds),
        imbalance_p50=estimate(each.imbalance_p50 for each in seeds),
        imbalance_p99=estimate(each.imbalance_p99 for each in seeds),
        imbalance_max=estimate(each.imbalance_max for each in seeds),
        moved_unchanged=estimate(each.moves.unchanged for each in seeds),
        moved_removed=estimate(each.moves.removed for each in seeds),
        moved_added=estimate(each.moves.added for each in seeds),
        recovered_s=estimate(recovered) if recovered else None,
        recovered_seeds=len(recovered),
        worst_run=estimate(each.worst_run for each in seeds),
        ratios=tuple(ratio for each in seeds for ratio in each.ratios),
        imbalances=tuple(map(_mean, zip(*(each.imbalances for each in seeds), strict=True))),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
