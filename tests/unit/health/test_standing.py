"""What each server of a service is to be, by which of them are well."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from lvsd.core.values import Health
from lvsd.health.standing import Member, Rules, has_quorum, standings

if TYPE_CHECKING:
    from lvsd.health.standing import AllDown, OnFailure, Place

UP, STANDBY, QUIESCED, REMOVED = Health.UP, Health.STANDBY, Health.QUIESCED, Health.REMOVED


def members(*ups: bool, backups: tuple[bool, ...] = (), weight: int = 1) -> dict[Place, Member]:
    """Return servers that are up or not, and sorry servers after them."""
    each = [Member(weight, False, is_up) for is_up in ups]
    each += [Member(weight, True, is_up) for is_up in backups]
    return {(bytes((10, 0, 0, number)), 80): member for number, member in enumerate(each)}


def now(of: dict[Place, Member], rules: Rules, *, had: bool = True) -> list[Health]:
    """Return what each is to be."""
    return [*standings(of, rules, quorum=has_quorum(of, rules, had=had)).values()]


@pytest.mark.parametrize(("on_failure", "failed"), [("quiesce", QUIESCED), ("remove", REMOVED)])
def test_a_server_that_is_down_is_what_on_failure_says(
    on_failure: OnFailure, failed: Health
) -> None:
    assert now(members(True, False, True), Rules(on_failure)) == [UP, failed, UP]


def test_a_sorry_server_stands_by_while_another_server_is_up() -> None:
    assert now(members(False, True, backups=(True,)), Rules()) == [QUIESCED, UP, STANDBY]


def test_a_sorry_server_stands_in_when_nobody_else_is_up() -> None:
    assert now(members(False, False, backups=(True,)), Rules()) == [QUIESCED, QUIESCED, UP]


def test_without_the_quorum_sorry_servers_stand_in_for_those_that_are_left() -> None:
    rules = Rules(quorum=2)
    assert now(members(True, False, backups=(True,)), rules) == [STANDBY, QUIESCED, UP]


def test_without_the_quorum_and_without_a_sorry_server_the_rest_goes_on() -> None:
    assert now(members(True, False), Rules(quorum=2)) == [UP, QUIESCED]
    assert now(members(True, False, backups=(False,)), Rules(quorum=2)) == [UP, QUIESCED, QUIESCED]


def test_the_quorum_is_a_weight_without_that_of_sorry_servers() -> None:
    of = members(True, True, backups=(True,), weight=5)
    assert [has_quorum(of, Rules(quorum=each), had=True) for each in (10, 11)] == [True, False]


def test_once_lost_the_quorum_is_back_with_more() -> None:
    rules = Rules(quorum=2, hysteresis=1)
    assert has_quorum(members(True, True), rules, had=True)
    assert not has_quorum(members(True, True), rules, had=False)
    assert has_quorum(members(True, True, True), rules, had=False)


def test_a_server_of_weight_zero_is_no_part_of_the_quorum() -> None:
    assert not has_quorum(members(True, weight=0), Rules(), had=True)


def test_when_all_are_down_they_are_refused_or_health_is_ignored() -> None:
    of = members(False, False, backups=(False,))
    assert now(of, Rules()) == [QUIESCED, QUIESCED, QUIESCED]
    assert now(of, Rules(all_down="ignore")) == [UP, UP, STANDBY]


def test_a_service_without_servers_has_nothing_to_tell() -> None:
    assert now({}, Rules(all_down="ignore")) == []


@pytest.mark.parametrize("all_down", ["refuse", "ignore"])
def test_whoever_is_up_keeps_a_service_going(all_down: AllDown) -> None:
    for ups, backups, quorum in product(
        product((True, False), repeat=3), product((True, False), repeat=2), (1, 2, 3, 4)
    ):
        found = now(members(*ups, backups=backups), Rules(quorum=quorum, all_down=all_down))
        takes = [
            is_up for is_up, health in zip((*ups, *backups), found, strict=True) if health is UP
        ]
        if any((*ups, *backups)):
            assert takes
            assert all(takes)
        else:
            assert bool(takes) is (all_down == "ignore")
