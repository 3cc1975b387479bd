"""What the simulation finds out about schedulers is what is known of them."""

from __future__ import annotations

import statistics

import pytest

from lvsd.bench.quality import factor, off_weight, quality
from schedulers import BUILT_IN
from tests.unit.bench.cases import case, simulated

EQUAL = (1,) * 10
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_seed_gives_the_same_figures(name: str) -> None:
    assert simulated(name, case(seed=7)) == simulated(name, case(seed=7))


def test_another_seed_gives_other_figures() -> None:
    assert simulated("wlc", case(seed=7)) != simulated("wlc", case(seed=8))


def test_rr_gives_servers_of_equal_weight_equally_many_connections() -> None:
    found = simulated("rr", case(EQUAL))
    assert max(found.ratios) - min(found.ratios) < 0.02
    assert found.elsewhere < 0.005


def test_rr_does_not_look_at_weights_and_wrr_does() -> None:
    unequal = case((1, 9))
    # By weight 90% are the second one's; rr gives it 50%.
    assert simulated("rr", unequal).elsewhere == pytest.approx(0.4, abs=0.01)
    assert simulated("wrr", unequal).elsewhere < 0.005


@pytest.mark.parametrize("name", ["wlc", "sed", "nq"])
def test_load_by_weight_comes_near_to_equal(name: str) -> None:
    found = simulated(name, case((10, 7, 3, 1)))
    assert found.jain > 0.995
    assert found.imbalance_p50 < 1.1


def test_fo_gives_everything_to_one_server() -> None:
    found = simulated("fo", case((3, 1, 2, 4)))
    assert found.jain == pytest.approx(1 / 4)
    assert found.imbalance_p50 == pytest.approx(4.0)
    assert [round(ratio, 6) for ratio in found.ratios] == [0, 0, 0, 2.5]


@pytest.mark.parametrize("name", ["sh", "mh", "dh", "fo"])
def test_nobody_moves_while_nothing_changes_where_the_client_decides(name: str) -> None:
    assert simulated(name, case(EQUAL)).moves.unchanged == 0


@pytest.mark.parametrize("name", ["rr", "wlc"])
def test_most_clients_move_though_nothing_changes_where_the_turn_or_the_load_decides(
    name: str,
) -> None:
    assert simulated(name, case(EQUAL)).moves.unchanged == pytest.approx(0.9, abs=0.04)


def test_mh_moves_little_more_than_the_part_of_the_server_that_leaves_or_joins() -> None:
    moves = [simulated("mh", case(EQUAL, seed=seed)).moves for seed in SEEDS]
    assert all(0.07 < each.removed < 0.16 for each in moves)
    assert all(0.07 < each.added < 0.16 for each in moves)


def test_sh_moves_most_clients_when_a_server_leaves() -> None:
    moves = [simulated("sh", case(EQUAL, seed=seed)).moves for seed in SEEDS]
    assert statistics.fmean(each.removed for each in moves) > 0.5


def test_wlc_lets_a_server_that_comes_back_catch_up_with_a_run_of_connections() -> None:
    found = simulated("wlc", case(EQUAL))
    assert found.recovered_s is not None
    assert found.recovered_s < 3
    assert found.worst_run >= 5


def test_rr_gives_it_no_two_connections_in_a_row() -> None:
    assert simulated("rr", case(EQUAL)).worst_run == 1


def test_a_server_that_gets_nothing_does_not_recover_and_is_counted_as_such() -> None:
    heavy = case((1, 1, 1, 50))
    assert heavy.victim != 3
    found = simulated("fo", heavy)
    assert (found.recovered_s, found.worst_run) == (None, 0)
    over_seeds = quality("fo", [found])
    assert (over_seeds.recovered_s, over_seeds.recovered_seeds) == (None, 0)


def test_weights_that_are_counts_bear_the_load_and_half_as_much_again() -> None:
    some = case((3, 1, 2, 4), load=10)
    assert factor("wlc", some) == 1
    assert factor("ovf", some) in {14, 15, 16}
    assert simulated("ovf", some).refused == 0


def test_what_goes_elsewhere_is_half_of_all_differences_of_shares() -> None:
    assert off_weight([50, 50], [1, 3]) == pytest.approx(0.25)
    assert off_weight([25, 75], [1, 3]) == 0
    assert off_weight([0, 0], [1, 3]) == 0


def test_seeds_become_means_with_intervals() -> None:
    every = [simulated("wlc", case(seed=seed)) for seed in SEEDS]
    found = quality("wlc", every)
    assert found.jain.values == tuple(each.jain for each in every)
    assert found.jain.half_width is not None
    assert found.recovered_seeds == 3
    assert len(found.ratios) == 3 * 4
    assert len(found.imbalances) == 300
