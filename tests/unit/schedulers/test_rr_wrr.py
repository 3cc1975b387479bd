"""Round robin, plain and weighted. The list is newest first: A, B, C reads C, B, A."""

from __future__ import annotations

from collections import Counter

from tests.unit.schedulers.farm import Farm


def test_rr_picks_as_the_kernel_does() -> None:
    assert Farm("rr", A=1, B=1, C=1).picks(6) == "CBACBA"


def test_rr_is_fair_to_the_pick() -> None:
    assert Counter(Farm("rr", A=1, B=7, C=3, D=2).picks(4000)) == dict.fromkeys("ABCD", 1000)


def test_rr_skips_a_server_of_weight_zero() -> None:
    assert Farm("rr", A=1, B=0, C=1).picks(4) == "CACA"


def test_rr_skips_an_overloaded_server_until_it_is_relieved() -> None:
    farm = Farm("rr", A=1, B=1, C=1)
    farm.overload("B")
    assert farm.picks(4) == "CACA"
    farm.relieve("B")
    assert farm.picks(4) == "CBAC"


def test_rr_keeps_its_place_when_a_weight_changes() -> None:
    farm = Farm("rr", A=1, B=1, C=1)
    assert farm.pick() == "C"
    farm.weigh("B", 0)
    assert farm.picks(2) == "AC"
    farm.weigh("B", 5)
    assert farm.picks(2) == "BA"


def test_rr_goes_on_behind_the_last_pick_when_that_one_is_removed() -> None:
    farm = Farm("rr", A=1, B=1, C=1)
    assert farm.picks(2) == "CB"
    farm.remove("B")
    assert farm.picks(3) == "ACA"


def test_rr_begins_with_a_new_server_while_it_stands_at_the_head() -> None:
    farm = Farm("rr", A=1, B=1)
    assert farm.pick() == "B"
    farm.remove("B")
    farm.add("C", 1)
    assert farm.picks(2) == "CA"


def test_rr_reaches_a_new_server_only_after_the_end_of_the_list() -> None:
    farm = Farm("rr", A=1, B=1)
    assert farm.pick() == "B"
    farm.add("C", 1)
    assert farm.picks(3) == "ACB"


def test_wrr_picks_as_the_kernel_does() -> None:
    assert Farm("wrr", A=4, B=3, C=2).picks(20) == "CBAABACBACBAABACBACB"


def test_wrr_lowers_the_current_weight_by_the_common_divisor() -> None:
    assert Farm("wrr", A=10, B=5).picks(9) == "BAABAABAA"


def test_wrr_is_fair_to_the_pick_over_a_whole_cycle() -> None:
    farm = Farm("wrr", A=4, B=3, C=2)
    assert Counter(farm.picks(9 * 100)) == {"A": 400, "B": 300, "C": 200}


def test_wrr_skips_a_server_of_weight_zero() -> None:
    assert set(Farm("wrr", A=2, B=0, C=1).picks(30)) == {"A", "C"}


def test_wrr_picks_nobody_when_all_are_overloaded_and_goes_on_afterwards() -> None:
    farm = Farm("wrr", A=2, B=1)
    farm.overload("A")
    farm.overload("B")
    assert farm.picks(2) == "--"
    farm.relieve("A")
    assert farm.picks(3) == "AAA"
    farm.relieve("B")
    assert Counter(farm.picks(30)) == {"A": 20, "B": 10}


def test_wrr_skips_many_values_of_cw_when_only_a_light_server_is_left() -> None:
    farm = Farm("wrr", A=1_000_000_000, B=1)
    farm.overload("A")
    assert farm.picks(3) == "BBB"


def test_wrr_begins_anew_when_a_weight_changes() -> None:
    farm = Farm("wrr", A=4, B=3, C=2)
    assert farm.picks(4) == "CBAA"
    farm.weigh("C", 4)
    assert farm.picks(11) == "CACBACBACBA"


def test_wrr_begins_anew_at_the_head_when_a_server_joins_or_leaves() -> None:
    farm = Farm("wrr", A=1, B=1)
    assert farm.pick() == "B"
    farm.add("C", 1)
    assert farm.picks(2) == "CB"
    farm.remove("C")
    assert farm.picks(2) == "BA"
