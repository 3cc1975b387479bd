"""What timings taken in turns show: a ratio, how sure it is, and whether it may be chance.

Two sides are measured once each in every round. What a round's machine did to both cancels out
where rounds are compared as a whole, so nothing here takes a round apart.

- The ratio is that of the two sides' medians over all rounds.
- Its interval is a bootstrap: rounds are drawn anew, with replacement, and the middle share of
  the ratios that they give is the interval (Efron's percentile method).
- Whether the sides differ at all is Wilcoxon's signed-rank test on the rounds' log ratios, exact.
  If neither side is faster, each round's sign is a coin's, whatever the noise looks like.
- Where many are tested, some differ by chance. Holm's step-down method keeps the chance that any
  alarm is a false one below the level, however the tests depend on each other.
"""

from __future__ import annotations

from itertools import groupby
from math import exp, log
from operator import itemgetter
from random import Random
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Rounds: TypeAlias = "Sequence[tuple[float, float]]"
"""What the old and the new side took in each round, above 0."""

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20260101


def ratio_of_medians(rounds: Rounds) -> float:
    """Return the new side's median over the old one's."""
    return median(new for _, new in rounds) / median(old for old, _ in rounds)


def geometric_mean_ratio(benchmarks: Sequence[Rounds]) -> float:
    """Return the geometric mean of several benchmarks' ratios."""
    return exp(fmean(log(ratio_of_medians(rounds)) for rounds in benchmarks))


def interval(benchmarks: Sequence[Rounds], resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the bootstrap interval of `geometric_mean_ratio`; of one benchmark, of its ratio.

    All benchmarks have the same rounds, which are drawn together.
    """
    lots = Random(SEED)
    numbers = range(len(benchmarks[0]))
    ratios = []
    for _ in range(resamples):
        drawn = lots.choices(numbers, k=len(numbers))
        ratios.append(
            geometric_mean_ratio([[rounds[number] for number in drawn] for rounds in benchmarks])
        )
    bounds = quantiles(ratios, n=round(2 / (1 - CONFIDENCE)), method="inclusive")
    return bounds[0], bounds[-1]


def log_ratios(rounds: Rounds) -> list[float]:
    """Return the logarithm of new over old, of every round."""
    return [log(new / old) for old, new in rounds]


def signed_rank(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test.

    It is the chance that coins for signs give rank sums at least as uneven. Equal sizes share the
    mean of their ranks; zeros speak for neither side and are left out.
    """
    sizes = sorted((abs(each), each > 0) for each in differences if each)
    doubled: list[tuple[int, bool]] = []  # twice the ranks, as shared ones may be halves
    for _, group in groupby(sizes, key=itemgetter(0)):
        equal = list(group)
        rank = 2 * len(doubled) + len(equal) + 1
        doubled.extend((rank, is_positive) for _, is_positive in equal)
    whole = sum(rank for rank, _ in doubled)
    positive = sum(rank for rank, is_positive in doubled if is_positive)
    ways = _ways([rank for rank, _ in doubled], whole)
    tail = sum(ways[: min(positive, whole - positive) + 1])
    return min(1.0, 2 * tail / (1 << len(doubled)))


def _ways(ranks: Sequence[int], whole: int) -> list[int]:
    """Return how many sets of the ranks have each sum from 0 to ``whole``."""
    ways = [1] + [0] * whole
    for rank in ranks:
        for total in range(whole, rank - 1, -1):
            ways[total] += ways[total - rank]
    return ways


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the same order (Holm 1979).

    Those below a level may be taken as alarms: the chance that any is false is below it too.
    """
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    ascending = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for place, index in enumerate(ascending):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def fewest_rounds(tests: int) -> int:
    """Return how many rounds are needed for so many tests to be able to show anything.

    Rounds that all agree have the p-value 2 / 2**rounds, which Holm takes so many times.
    """
    rounds = 1
    while tests * 2 / 2**rounds >= 1 - CONFIDENCE:
        rounds += 1
    return rounds
