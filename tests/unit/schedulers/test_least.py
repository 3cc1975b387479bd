"""The schedulers that compare loads: lc, wlc, sed, nq, fo and ovf."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from schedulers.least import LeastLoad, fraction
from tests.unit.schedulers.farm import Farm

ALL = ["lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr"]
HEAVIEST = 2**31 - 1


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("lc", "CBACBACBACBA"),
        ("wlc", "CBAABACBAABA"),
        ("sed", "ABACBAABACBA"),
        ("nq", "CBAABAABACBA"),
        ("ovf", "AAAABBBCC---"),
        ("fo", "AAAAAAAAAAAA"),
    ],
)
def test_connections_that_stay_active_are_spread_as_the_kernel_does(
    name: str, sequence: str
) -> None:
    assert Farm(name, A=3, B=2, C=1).connects(12) == sequence


@pytest.mark.parametrize("name", ["wlc", "sed", "nq"])
def test_shares_are_as_the_weights_to_within_one_connection(name: str) -> None:
    counts = Counter(Farm(name, A=5, B=3, C=2).connects(1000))
    assert {server: round(count / 100) for server, count in counts.items()} == {
        "A": 5,
        "B": 3,
        "C": 2,
    }
    assert all(abs(counts[s] - share) <= 1 for s, share in {"A": 500, "B": 300, "C": 200}.items())


@pytest.mark.parametrize("name", ALL)
def test_a_server_of_weight_zero_is_skipped(name: str) -> None:
    assert Farm(name, A=1, B=0).picks(3) == "AAA"


@pytest.mark.parametrize("name", ["lc", "wlc", "sed", "nq", "fo", "ovf"])
def test_the_newest_server_wins_a_tie(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    assert farm.pick() == "B"
    farm.add("C", 1)
    assert farm.pick() == "C"


@pytest.mark.parametrize("name", ALL)
def test_a_removed_server_is_not_picked(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    farm.remove("B")
    assert farm.picks(2) == "AA"


@pytest.mark.parametrize("name", ALL)
def test_counts_of_a_removed_server_are_passed_over(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    gone = farm.servers["B"]
    farm.connect()
    farm.remove("B")
    gone.active = gone.total = 0
    farm.scheduler.changed(gone)
    assert farm.pick() == "A"


def test_wlc_takes_a_new_weight_into_account_at_once() -> None:
    farm = Farm("wlc", A=1, B=1)
    assert farm.connects(4) == "BABA"
    farm.weigh("A", 3)
    assert farm.connects(5) == "AAAAB"


def test_wlc_gives_a_server_that_comes_back_empty_everything_until_it_has_caught_up() -> None:
    farm = Farm("wlc", A=1, B=1)
    assert farm.connects(6) == "BABABA"
    farm.add("C", 1)
    assert farm.connects(5) == "CCCCB"


def test_wlc_sees_a_connection_end() -> None:
    farm = Farm("wlc", A=1, B=1, C=1)
    assert farm.connects(3) == "CBA"
    farm.finish("A")
    assert farm.connects(2) == "AC"


def test_an_inactive_connection_counts_for_wlc_and_not_for_sed() -> None:
    for name, expected in (("wlc", "A"), ("sed", "B")):
        farm = Farm(name, A=1, B=1)
        farm.servers["B"].open()
        farm.scheduler.changed(farm.servers["B"])
        assert farm.pick() == expected


def test_fo_moves_to_the_next_weight_when_the_first_is_out_and_back_again() -> None:
    farm = Farm("fo", A=3, B=2, C=1)
    farm.overload("A")
    assert farm.pick() == "B"
    farm.weigh("B", 0)
    assert farm.pick() == "C"
    farm.relieve("A")
    assert farm.pick() == "A"


def test_ovf_returns_to_the_first_server_when_it_has_room() -> None:
    farm = Farm("ovf", A=2, B=1)
    assert farm.connects(4) == "AAAB"
    farm.finish("A")
    assert farm.connects(2) == "AB"


@pytest.mark.parametrize(
    ("numerator", "weight", "other_numerator", "other_weight"),
    [
        (HEAVIEST - 1, HEAVIEST, HEAVIEST - 2, HEAVIEST - 1),
        (10**12, HEAVIEST, 10**12, HEAVIEST - 1),
        (10**12 * (HEAVIEST - 1) + 1, HEAVIEST, 10**12 * (HEAVIEST - 2), HEAVIEST - 1),
        (2, 4, 1, 2),
        (257, 3, 171, 2),
    ],
)
def test_fraction_orders_as_exact_arithmetic_does(
    numerator: int, weight: int, other_numerator: int, other_weight: int
) -> None:
    one, other = Fraction(numerator, weight), Fraction(other_numerator, other_weight)
    keys = fraction(numerator, weight), fraction(other_numerator, other_weight)
    assert (keys[0] < keys[1], keys[0] == keys[1]) == (one < other, one == other)


def test_the_heap_stays_in_proportion_to_the_servers() -> None:
    farm = Farm("wlc", A=1, B=1, C=1)
    scheduler = farm.scheduler
    assert isinstance(scheduler, LeastLoad)
    farm.connects(3000)
    for _ in range(1000):
        for name in "ABC":
            farm.finish(name)
    assert len(scheduler._heap) <= 2 * 3 + 64 + 1
