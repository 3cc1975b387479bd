"""Statistics against values that are known."""

from __future__ import annotations

import pytest

from lvsd.bench.estimate import Estimate, estimate, jain, percentile, t_975


@pytest.mark.parametrize(
    ("freedom", "point"),
    [(1, 12.706), (2, 4.303), (9, 2.262), (30, 2.042), (31, 2.040), (60, 2.000), (120, 1.980)],
)
def test_students_t_is_that_of_the_tables(freedom: int, point: float) -> None:
    assert t_975(freedom) == pytest.approx(point, abs=0.0006)


def test_an_interval_is_t_standard_errors_wide_on_either_side() -> None:
    found = estimate([2.0, 4.0, 6.0])
    # s = 2, s / sqrt(3) = 1.1547, t(2) = 4.3027
    assert found.mean == 4.0
    assert found.half_width == pytest.approx(4.9683, abs=1e-4)
    assert found.values == (2.0, 4.0, 6.0)


def test_a_single_value_has_no_interval() -> None:
    assert estimate([3.0]) == Estimate(3.0, None, (3.0,))


@pytest.mark.parametrize(
    ("loads", "index"),
    [
        ([5.0, 5.0, 5.0], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 0.25),
        ([1.0, 2.0, 3.0], 36 / 42),
        ([0.0, 0.0], 1.0),
    ],
)
def test_jains_index_is_one_for_equals_and_a_part_for_one_who_bears_all(
    loads: list[float], index: float
) -> None:
    assert jain(loads) == pytest.approx(index)


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 2.0), (75, 3.0), (99, 4.0)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == value
    assert percentile([7.0], percent) == 7.0
