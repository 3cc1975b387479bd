"""lblcr's rankings of large sets: what they learn, and how many there are.

Two servers are a large set here, so that the examples stay short.
"""

from __future__ import annotations

import pytest

from schedulers.lblcr import LocalityBasedLeastConnectionReplication
from schedulers.locality import EXPIRATION_S
from tests.unit.schedulers.farm import Farm

FIRST, SECOND = "10.0.0.1", "10.0.0.2"


@pytest.fixture(autouse=True)
def two_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalityBasedLeastConnectionReplication, "LARGE_SET", 2)


def farm_with_sets_of_two(*destinations: str) -> Farm:
    """Return servers A and B, and destinations whose sets are [A, B], A being the newer member.

    Both servers end up with one active connection for each destination, and nothing is ranked.
    """
    farm = Farm("lblcr", A=1, B=1)
    for destination in destinations:
        for name in "AB":
            farm.servers[name].active = farm.servers[name].total = 0
            farm.scheduler.changed(farm.servers[name])
        assert farm.connect(destination=destination) == "B"
        assert farm.connect(destination=destination) == "B"
        assert farm.connect(destination=destination) == "A"
        farm.finish("B")
    return farm


def lblcr(farm: Farm) -> LocalityBasedLeastConnectionReplication:
    """Return the scheduler under its own type."""
    assert isinstance(farm.scheduler, LocalityBasedLeastConnectionReplication)
    return farm.scheduler


def ranked(farm: Farm) -> list[list[str]]:
    """Return the names in every ranking, the newest member first."""
    names = {server: name for name, server in farm.servers.items()}
    rankings = [homes.ranking.servers for homes in lblcr(farm)._ranked if homes.ranking]
    return [[names[server] for server in ranking][::-1] for ranking in rankings]


def rank(farm: Farm, destination: str) -> None:
    """Ask for a destination twice in a row, so that its set is ranked."""
    farm.pick(destination=destination)
    farm.pick(destination=destination)


def test_a_large_set_is_ranked_when_it_is_asked_for_again_soon() -> None:
    farm = farm_with_sets_of_two(FIRST)
    farm.pick(destination=FIRST)
    farm.pick(destination=FIRST)
    assert ranked(farm) == [["A", "B"]]


def test_the_newest_member_wins_a_tie_in_a_ranked_set() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    assert farm.pick(destination=FIRST) == "A"


def test_a_ranked_set_learns_of_a_connection_that_ends_and_of_one_that_begins() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    farm.finish("B")
    assert farm.pick(destination=FIRST) == "B"
    farm.servers["B"].open()
    farm.servers["B"].activate()
    farm.scheduler.changed(farm.servers["B"])
    assert farm.pick(destination=FIRST) == "A"


def test_a_ranked_set_learns_that_a_server_is_gone_and_that_it_is_back() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    gone = farm.servers["A"]
    farm.remove("A")
    assert farm.pick(destination=FIRST) == "B"
    farm.servers["A"] = gone
    farm.scheduler.add(gone)
    assert farm.pick(destination=FIRST) == "A"
    assert ranked(farm) == [["A", "B"]]


def test_a_ranked_set_learns_of_a_weight_and_of_an_overload() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    farm.weigh("B", 2)
    assert farm.pick(destination=FIRST) == "B"
    farm.overload("B")
    assert farm.pick(destination=FIRST) == "A"


def test_a_server_joins_a_ranked_set_at_its_head() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    farm.add("C", 1)
    assert farm.connect(destination=FIRST) == "A"
    assert farm.connect(destination=FIRST) == "B"
    assert farm.connect(destination=FIRST) == "C"
    assert ranked(farm) == [["C", "A", "B"]]
    for name in "AB":
        farm.finish(name)
    assert farm.pick(destination=FIRST) == "C"


def test_a_server_that_is_evicted_leaves_the_ranking() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    assert farm.connect(destination=FIRST) == "A"
    assert farm.pick(destination=FIRST, now=EXPIRATION_S + 1) == "B"
    assert ranked(farm) == [["B"]]


def test_a_set_loses_its_ranking_when_more_has_changed_than_it_has_members() -> None:
    farm = farm_with_sets_of_two(FIRST)
    rank(farm, FIRST)
    farm.overload("A")
    farm.relieve("A")
    assert farm.pick(destination=FIRST) == "A"
    assert ranked(farm) == []


def test_a_set_in_demand_keeps_its_ranking_when_no_more_sets_may_be_ranked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LocalityBasedLeastConnectionReplication, "MOST_RANKED", 1)
    farm = farm_with_sets_of_two(FIRST, SECOND)
    rank(farm, FIRST)
    (first,) = lblcr(farm)._ranked
    rank(farm, SECOND)
    assert list(lblcr(farm)._ranked) == [first]


def test_a_set_out_of_demand_gives_its_ranking_up_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LocalityBasedLeastConnectionReplication, "MOST_RANKED", 1)
    farm = farm_with_sets_of_two(FIRST, SECOND)
    rank(farm, FIRST)
    (first,) = lblcr(farm)._ranked
    farm.overload("A")
    farm.relieve("A")
    rank(farm, SECOND)
    (second,) = lblcr(farm)._ranked
    assert (first.ranking, second is first) == (None, False)


def test_the_journal_of_changes_does_not_grow_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LocalityBasedLeastConnectionReplication, "JOURNAL_LENGTH", 10)
    farm = Farm("lblcr", A=1)
    for _ in range(100):
        farm.connect()
    assert len(lblcr(farm)._journal) == 10
