"""Verdicts: on benchmarks whose truth is known, since they are simulated."""

from __future__ import annotations

from random import Random

import pytest

from bench.compare import outcome
from bench.show import said
from bench.verdict import OVERALL, Verdict, Word, _p_values, slower_than, verdicts
from tests.unit.bench_harness.simulation import simulated


def test_equal_sides_raise_few_alarms_among_many_benchmarks() -> None:
    lots = Random(20260101)
    comparisons = 300
    alarmed = 0
    for _ in range(comparisons):
        samples = {str(number): simulated(lots) for number in range(15)}
        alarmed += min(_p_values(samples)) < 0.05
    assert 0 < alarmed <= 0.05 * comparisons


def test_a_tenth_is_found_among_benchmarks_that_are_equal() -> None:
    lots = Random(20260102)
    samples = {f"equal-{number}": simulated(lots) for number in range(8)}
    samples |= {"slow": simulated(lots, 1.1), "fast": simulated(lots, 1 / 1.1)}
    words = {each.name: each.word for each in verdicts(samples) if each.name != OVERALL}
    expected = dict.fromkeys(samples, Word.NONE)
    assert words == expected | {"slow": Word.SLOWER, "fast": Word.FASTER}


def test_a_small_slowdown_of_everything_shows_in_all_together() -> None:
    lots = Random(20260103)
    overall = verdicts({str(number): simulated(lots, 1.03) for number in range(10)})[-1]
    assert (overall.name, overall.word) == (OVERALL, Word.SLOWER)
    assert overall.low <= 1.03 <= overall.high


def test_what_is_slower_by_more_than_allowed_is_named() -> None:
    lots = Random(20260104)
    samples = {f"equal-{number}": simulated(lots) for number in range(4)}
    samples |= {"slow": simulated(lots, 1.3)}
    results = verdicts(samples)
    assert slower_than(10, samples, results) == ["slow"]
    assert slower_than(30, samples, results) == []
    assert outcome(10, samples, results) == (1, "slower by more than 10%: slow")
    assert outcome(30, samples, results) == (0, "")
    assert outcome(None, samples, results) == (0, "")


def test_a_comparison_of_nothing_has_failed() -> None:
    assert outcome(None, {}, []) == (69, "nothing could be compared")


@pytest.mark.parametrize(
    ("ratio", "low", "high", "p", "words"),
    [
        (1.1, 1.05, 1.15, 0.01, "slower by 10.0%"),
        (0.9, 0.85, 0.95, 0.01, "faster by 10.0%"),
        (1.1, 1.05, 1.15, 0.20, "no difference shown (within 15.0%)"),
        (1.1, 0.98, 1.15, 0.01, "no difference shown (within 15.0%)"),
        (0.9, 0.80, 1.05, 0.01, "no difference shown (within 20.0%)"),
    ],
)
def test_a_verdict_takes_both_test_and_interval(
    ratio: float, low: float, high: float, p: float, words: str
) -> None:
    assert said(Verdict("name", ratio, low, high, p)) == words
