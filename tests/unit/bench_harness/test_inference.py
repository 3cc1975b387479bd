"""The statistics behind a comparison: known values, brute force, and simulated benchmarks."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench.inference import (
    fewest_rounds,
    geometric_mean_ratio,
    holm,
    interval,
    ratio_of_medians,
    signed_rank,
)
from tests.unit.bench_harness.simulation import simulated

if TYPE_CHECKING:
    from collections.abc import Sequence


def brute_force(differences: Sequence[float]) -> float:
    """Return the p-value by trying all signs; sizes must differ."""
    ranks = {size: rank for rank, size in enumerate(sorted(map(abs, differences)), 1)}
    own = [ranks[abs(each)] for each in differences]
    middle = sum(own) / 2
    seen = abs(sum(rank for rank, each in zip(own, differences, strict=True) if each > 0) - middle)
    sums = [
        abs(sum(rank for rank, sign in zip(own, signs, strict=True) if sign) - middle)
        for signs in product((False, True), repeat=len(own))
    ]
    return sum(each >= seen for each in sums) / len(sums)


def test_the_ratio_is_that_of_the_medians() -> None:
    assert ratio_of_medians([(2.0, 3.0), (4.0, 5.0), (9.0, 60.0)]) == 5.0 / 4.0


def test_the_mean_of_ratios_is_geometric() -> None:
    assert geometric_mean_ratio([[(1.0, 2.0)], [(2.0, 1.0)]]) == pytest.approx(1.0)
    assert geometric_mean_ratio([[(1.0, 4.0)], [(1.0, 1.0)]]) == pytest.approx(2.0)


def test_rounds_that_all_have_one_ratio_leave_the_interval_no_room() -> None:
    rounds = [(2.0, 3.0)] * 8
    assert interval([rounds]) == (1.5, 1.5)


def test_an_interval_is_the_same_whenever_it_is_asked_for() -> None:
    rounds = simulated(Random(1))
    assert interval([rounds]) == interval([rounds])


def test_the_interval_of_several_benchmarks_is_narrower_than_that_of_one() -> None:
    lots = Random(2)
    several = [simulated(lots) for _ in range(16)]
    low, high = interval(several, 500)
    widths = [last - first for first, last in (interval([each], 500) for each in several)]
    assert high - low < min(widths)


def test_nearly_all_intervals_have_the_true_ratio_in_them() -> None:
    lots = Random(3)
    bounds = [interval([simulated(lots, 1.1)], 200) for _ in range(300)]
    assert sum(low <= 1.1 <= high for low, high in bounds) >= 0.93 * len(bounds)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2 / 32),
        ([-number for number in range(1, 11)], 2 / 1024),
        ([-1, -2, 3, 4, 5, 6, 7, 8], 10 / 256),  # sums up to 3: nothing, 1, 2, 3, 1 + 2
        ([1.0, -1.0, 1.0, -1.0], 1.0),
        ([1.0, 1.0, 1.0], 2 / 8),
        ([0.0, 0.0, 1.0, 2.0], 2 / 4),
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_known_values_of_the_signed_rank_test(differences: Sequence[float], p: float) -> None:
    assert signed_rank(differences) == p


@pytest.mark.parametrize("seed", range(20))
def test_the_signed_rank_test_counts_as_trying_all_signs_does(seed: int) -> None:
    lots = Random(seed)
    differences = [lots.gauss(0.5, 1) for _ in range(lots.randint(1, 9))]
    assert signed_rank(differences) == brute_force(differences)


def test_known_values_of_holms_method() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("tests", "rounds"), [(1, 6), (2, 7), (16, 10), (128, 13)])
def test_fewest_rounds_are_those_that_can_show_something(tests: int, rounds: int) -> None:
    agreeing = [1.0 + number for number in range(rounds)]
    assert fewest_rounds(tests) == rounds
    assert holm([signed_rank(agreeing)] + [1.0] * (tests - 1))[0] < 0.05
    assert holm([signed_rank(agreeing[1:])] + [1.0] * (tests - 1))[0] >= 0.05
