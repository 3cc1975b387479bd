"""Weights: one, a range, a pattern."""

from __future__ import annotations

import pytest

from lvsd.bench.weights import check_fit, parse
from lvsd.errors import UsageError


def test_one_weight_is_everybodys() -> None:
    assert parse("5").deal(3, seed=1) == [5, 5, 5]


def test_a_pattern_repeats() -> None:
    assert parse("3,2,1").deal(6, seed=1) == [3, 2, 1, 3, 2, 1]


def test_a_range_is_drawn_from_by_seed() -> None:
    weights = parse("2-4")
    assert weights.deal(100, seed=1) == weights.deal(100, seed=1)
    assert weights.deal(100, seed=1) != weights.deal(100, seed=2)
    assert set(weights.deal(100, seed=1)) == {2, 3, 4}


def test_a_pattern_has_to_go_into_every_number_of_servers() -> None:
    check_fit(parse("3,2,1"), [3, 30])
    with pytest.raises(UsageError) as raised:
        check_fit(parse("3,2,1"), [3, 100])
    assert str(raised.value) == (
        "--weights 3,2,1: a pattern of 3 weights does not fit 100 servers; --servers takes"
        " multiples of 3 with it (99, say), or give a range such as 1-10"
    )
