"""Verdicts on benchmarks that two revisions took turns at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import log
from statistics import fmean, median
from typing import TYPE_CHECKING

from bench.inference import (
    CONFIDENCE,
    Rounds,
    geometric_mean_ratio,
    holm,
    interval,
    log_ratios,
    signed_rank,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OVERALL = "all together"
"""The name of the verdict on all benchmarks."""

LOUDEST = 3.0


class Word(StrEnum):
    """What was shown of the new side."""

    FASTER = "faster"
    SLOWER = "slower"
    NONE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a benchmark's rounds show. Ratios are new time over old, so below 1 is faster.

    ``low`` and ``high`` bound the ratio with 95% confidence, for this benchmark alone; ``p`` is
    adjusted for all that were tested together.
    """

    name: str
    ratio: float
    low: float
    high: float
    p: float

    @property
    def word(self) -> Word:
        """Faster or slower only if test and interval agree on it."""
        if self.p < 1 - CONFIDENCE and self.high < 1:
            return Word.FASTER
        if self.p < 1 - CONFIDENCE and self.low > 1:
            return Word.SLOWER
        return Word.NONE

    @property
    def within(self) -> float:
        """The greatest change that the interval leaves room for, as a share."""
        return max(self.high - 1, 1 - self.low)


def verdicts(samples: Mapping[str, Rounds]) -> list[Verdict]:
    """Return a verdict on each benchmark and, last, `OVERALL`; all are tested together."""
    benchmarks = list(samples.values())
    groups = [*([rounds] for rounds in benchmarks), benchmarks]
    names = [*samples, OVERALL]
    p_values = _p_values(samples)
    return [
        Verdict(name, geometric_mean_ratio(group), *interval(group), p)
        for name, group, p in zip(names, groups, p_values, strict=True)
    ]


def slower_than(
    percent: float, samples: Mapping[str, Rounds], results: Sequence[Verdict]
) -> list[str]:
    """Return the names of those `verdicts` that are slower by more than so much.

    The confidence is the same: the rounds are tested against that slowdown instead of none.
    """
    bound = 1 + percent / 100
    p_values = _p_values(samples, bound)
    return [
        verdict.name
        for verdict, p in zip(results, p_values, strict=True)
        if p < 1 - CONFIDENCE and verdict.low > bound
    ]


def _p_values(samples: Mapping[str, Rounds], bound: float = 1.0) -> list[float]:
    """Return adjusted p-values, `OVERALL`'s last, of the ratio's being ``bound``."""
    logs = [[each - log(bound) for each in log_ratios(rounds)] for rounds in samples.values()]
    overall = [fmean(of_round) for of_round in zip(*map(_tempered, logs), strict=True)]
    return holm([signed_rank(differences) for differences in (*logs, overall)])


def _tempered(differences: Sequence[float]) -> list[float]:
    """Return differences none of which is above `LOUDEST` times their median size.

    A turn that something else spoilt is so kept from drowning a round's other benchmarks. Signs
    have no part in it: coins for signs stay coins.
    """
    limit = LOUDEST * median(map(abs, differences))
    return [max(-limit, min(limit, each)) for each in differences]
