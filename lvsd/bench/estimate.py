"""Means with their 95% confidence intervals, by Student's t distribution.

The values are one per seed, or per turn of a measurement: independent, and few. For a mean of n
values with standard deviation s the interval is ``mean +- t(n - 1) * s / sqrt(n)``.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T_975: Final = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
"""The 97.5% points of Student's t for 1, 2 ... 30 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, half of its 95% confidence interval (None for a single value), and the values."""

    mean: float
    half_width: float | None
    values: tuple[float, ...]


def estimate(values: Iterable[float]) -> Estimate:
    """Return the estimate from one value or more. Raise StatisticsError without any."""
    found = tuple(values)
    mean = statistics.fmean(found)
    if len(found) < 2:
        return Estimate(mean, None, found)
    error = statistics.stdev(found) / math.sqrt(len(found))
    return Estimate(mean, t_975(len(found) - 1) * error, found)


def t_975(freedom: int) -> float:
    """Return the 97.5% point of Student's t; above 30 by the series around the normal one."""
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return z + first + second


def jain(loads: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 when all loads are equal, 1/n when one bears all.

    Without any load it is 1.
    """
    squares = sum(load * load for load in loads)
    return sum(loads) ** 2 / (len(loads) * squares) if squares else 1.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
