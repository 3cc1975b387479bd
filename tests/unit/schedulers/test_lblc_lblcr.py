"""The schedulers with a cache: lblc and lblcr. Clocks are handed in."""

from __future__ import annotations

import pytest

from schedulers.locality import EXPIRATION_S, IDLE_S, SWEEP_INTERVAL_S, LocalityCache
from tests.unit.schedulers.farm import Farm

BOTH = pytest.mark.parametrize("name", ["lblc", "lblcr"])
FIRST, SECOND = "10.0.0.1", "10.0.0.2"


def connects(farm: Farm, destination: str, count: int, now: float = 0.0) -> str:
    """Return the names of so many connections to a destination, all staying active."""
    return "".join(farm.connect(destination=destination, now=now) for _ in range(count))


def cached(farm: Farm) -> int:
    """Return how many addresses the cache holds, counted one by one."""
    cache = farm.scheduler
    assert isinstance(cache, LocalityCache)
    total = sum(map(len, cache._buckets))
    assert cache._count == total
    return total


def ask(farm: Farm, destinations: range, now: float) -> None:
    """Ask for a range of destinations without opening any connection."""
    for serial in destinations:
        farm.pick(destination=f"10.{serial >> 16}.{serial >> 8 & 255}.{serial & 255}", now=now)


@BOTH
def test_a_destination_stays_until_its_server_is_overburdened(name: str) -> None:
    farm = Farm(name, A=2, B=2, C=2)
    assert connects(farm, FIRST, 4) == "CCCB"
    assert farm.connect(destination=SECOND) == "A"


@BOTH
def test_a_destination_stays_while_no_server_is_half_idle(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    assert connects(farm, FIRST, 2) == "BB"
    assert connects(farm, SECOND, 1) == "A"
    assert connects(farm, FIRST, 3) == "BBB"


@BOTH
def test_a_destination_leaves_a_server_of_weight_zero(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    assert connects(farm, FIRST, 1) == "B"
    farm.weigh("B", 0)
    assert connects(farm, FIRST, 1) == "A"


@BOTH
def test_a_destination_leaves_a_removed_server(name: str) -> None:
    farm = Farm(name, A=1, B=1)
    assert connects(farm, FIRST, 1) == "B"
    farm.remove("B")
    assert connects(farm, FIRST, 1) == "A"


def test_lblc_does_not_look_at_the_overload_flag_on_a_hit() -> None:
    farm = Farm("lblc", A=1, B=1)
    assert farm.pick(destination=FIRST) == "B"
    farm.overload("B")
    assert farm.pick(destination=FIRST) == "B"


def test_lblcr_does_look_at_the_overload_flag_on_a_hit() -> None:
    farm = Farm("lblcr", A=1, B=1)
    assert farm.pick(destination=FIRST) == "B"
    farm.overload("B")
    assert farm.pick(destination=FIRST) == "A"


def test_lblcr_picks_the_least_loaded_of_the_set() -> None:
    farm = Farm("lblcr", A=2, B=2, C=2)
    assert connects(farm, FIRST, 5) == "CCCBB"
    farm.finish("C")
    farm.finish("C")
    assert connects(farm, FIRST, 1) == "C"


def test_lblcr_evicts_the_most_loaded_of_the_set_after_a_day() -> None:
    farm = Farm("lblcr", A=2, B=2, C=2)
    assert connects(farm, FIRST, 5) == "CCCBB"
    assert farm.pick(destination=FIRST, now=EXPIRATION_S + 1) == "B"
    for _ in range(3):
        farm.finish("C")
    assert farm.pick(destination=FIRST, now=EXPIRATION_S + 2) == "B"


def test_lblcr_does_not_evict_on_the_stroke_of_the_day() -> None:
    farm = Farm("lblcr", A=2, B=2, C=2)
    assert connects(farm, FIRST, 5) == "CCCBB"
    assert farm.pick(destination=FIRST, now=EXPIRATION_S) == "B"
    for _ in range(3):
        farm.finish("C")
    assert farm.pick(destination=FIRST, now=EXPIRATION_S) == "C"


@BOTH
def test_a_destination_is_forgotten_after_a_day_by_the_thirtieth_sweep(name: str) -> None:
    farm = Farm(name, A=1)
    ask(farm, range(3), now=0.0)
    start = EXPIRATION_S
    farm.scheduler.tick(start)
    for sweep in range(1, 30):
        farm.scheduler.tick(start + sweep * SWEEP_INTERVAL_S)
    assert cached(farm) == 3
    farm.scheduler.tick(start + 30 * SWEEP_INTERVAL_S)
    assert cached(farm) == 0


@BOTH
def test_ticks_between_the_sweeps_do_nothing(name: str) -> None:
    farm = Farm(name, A=1)
    ask(farm, range(3), now=0.0)
    for second in range(30):
        farm.scheduler.tick(EXPIRATION_S + second)
    assert cached(farm) == 3


@BOTH
def test_the_cache_takes_no_more_than_one_and_a_half_times_its_size(name: str) -> None:
    farm = Farm(name, A=1)
    ask(farm, range(24_600), now=0.0)
    assert cached(farm) == 24_576


@BOTH
def test_a_full_cache_drops_idle_entries_until_the_goal_is_met(name: str) -> None:
    farm = Farm(name, A=1)
    farm.scheduler.tick(0.0)
    ask(farm, range(16_384 + 300), now=0.0)
    farm.scheduler.tick(IDLE_S)
    dropped = 16_384 + 300 - cached(farm)
    assert 400 <= dropped < 400 + 40


@BOTH
def test_a_full_cache_keeps_what_was_used_within_six_minutes(name: str) -> None:
    farm = Farm(name, A=1)
    farm.scheduler.tick(0.0)
    ask(farm, range(16_384 + 300), now=1.0)
    farm.scheduler.tick(IDLE_S)
    assert cached(farm) == 16_384 + 300


def test_the_expiration_can_be_set() -> None:
    farm = Farm("lblc", A=1)
    assert isinstance(farm.scheduler, LocalityCache)
    farm.scheduler.expiration_s = 60.0
    ask(farm, range(3), now=0.0)
    for sweep in range(31):
        farm.scheduler.tick(sweep * SWEEP_INTERVAL_S)
    assert cached(farm) == 0
