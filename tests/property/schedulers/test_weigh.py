"""What a scheduler says of its next pick is what it then does, and saying it changes nothing.

The histories of test_same_picks.py are played to two schedulers of a kind. One is asked before
every pick what its servers stand for, some times twice; the other one never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from schedulers import BUILT_IN
from schedulers.base import Flow, Scheduler, Server
from tests.property.examples import examples
from tests.property.schedulers.test_lblcr_large_sets import LowLimits, busy_history
from tests.property.schedulers.test_same_picks import (
    MOST_SERVERS,
    VARIANTS,
    WEIGHTS,
    World,
    histories,
    long_history,
    play,
)

if TYPE_CHECKING:
    from schedulers.base import Weighed

LONGEST_TEXT = 50
HEAVIEST = 65535
"""Of greater weights, which the configuration refuses, the texts may be longer."""


@dataclass
class Asked(World):
    """A world whose ``fast`` scheduler is asked before each pick; ``rule`` is its twin."""

    picks: int = 0

    def pick(self, client: int, destination: int, *, connect: bool) -> None:
        """Ask, compare with what is picked then, and with the twin."""
        flow = flow_of(client, destination)
        weighed = self.fast.weigh(flow, self.now)
        for _ in range(client % 2):
            assert self.fast.weigh(flow, self.now) == weighed
        check(weighed, self.joined)
        expected = first_least(weighed)
        picked = self.fast.pick(flow, self.now)
        assert picked is expected
        assert self.rule.pick(flow, self.now) is picked
        self.picks += 1
        if picked is not None and connect:
            picked.open()
            picked.activate()
            self.tell(lambda scheduler: scheduler.changed(picked))


def flow_of(client: int, destination: int) -> Flow:
    """Return a flow of one of a few clients to one of fewer destinations."""
    source = bytes((203, 0, 113, client))
    return Flow(source, 1024 + client * 7, bytes((10, 9, 8, destination)), 80)


def first_least(weighed: list[Weighed]) -> Server | None:
    """Return the first server of least number; None when there is no number."""
    numbers = [(each.number, each.server) for each in weighed if each.number is not None]
    return min(numbers, key=lambda pair: pair[0])[1] if numbers else None


def check(weighed: list[Weighed], joined: list[Server]) -> None:
    """Check that each server of the service is there once, with a short text."""
    assert sorted(each.server.address for each in weighed) == sorted(s.address for s in joined)
    assert [
        each.text
        for each in weighed
        if not 0 < len(each.text) <= LONGEST_TEXT and each.server.weight <= HEAVIEST
    ] == []


def twins(name: str, flags: frozenset[str]) -> Asked:
    """Return a world with two schedulers of a kind."""
    return Asked(BUILT_IN[name](flags), BUILT_IN[name](flags))


def test_every_built_in_scheduler_is_asked_and_has_a_rule_in_a_sentence() -> None:
    assert {name for name, _ in VARIANTS} == BUILT_IN.keys()
    assert [name for name, kind in BUILT_IN.items() if not kind.rule.endswith(".")] == []
    assert [name for name, kind in BUILT_IN.items() if kind.weigh is Scheduler.weigh] == []


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
@given(data=st.data())
@examples(50, suppress_health_check=[HealthCheck.too_slow])
def test_the_least_number_is_picked_and_asking_changes_nothing(
    name: str, flags: frozenset[str], data: st.DataObject
) -> None:
    start = data.draw(st.lists(WEIGHTS, max_size=6))
    history = data.draw(histories(WEIGHTS, most_steps=10 if name == "mh" else 60))
    play(twins(name, flags), start, history)


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_least_number_is_picked_through_a_long_crowded_life(
    name: str, flags: frozenset[str], seed: int
) -> None:
    world = twins(name, flags)
    for step in long_history(seed, steps=150 if name == "mh" else 1500):
        if step[0] not in {"add", "bring_back"} or len(world.joined) < MOST_SERVERS:
            play(world, [], [step])
    assert world.picks > 60


@pytest.mark.parametrize("name", ["rr", "wrr"])
@given(weights=st.lists(st.integers(0, 12), min_size=1, max_size=6), before=st.integers(0, 40))
@examples(100)
def test_a_turn_comes_after_as_many_picks_as_was_said(
    name: str, weights: list[int], before: int
) -> None:
    scheduler = BUILT_IN[name]()
    for place, weight in enumerate(weights):
        scheduler.add(Server(bytes((10, 0, 0, place)), 80, weight))
    flow = flow_of(0, 0)
    for _ in range(before):
        scheduler.pick(flow, 0.0)
    said = {each.server: each.number for each in scheduler.weigh(flow, 0.0)}
    away: dict[Server | None, int] = {}
    for picks in range(sum(weights) + 1):
        away.setdefault(scheduler.pick(flow, 0.0), picks)
    assert {server: away.get(server) for server in said} == said


@pytest.mark.parametrize("weights", [[2**31 - 1, 2**31 - 2, 3], [2**31 - 1, 2**31 - 2], [7, 3, 2]])
def test_wrr_that_begins_at_the_highest_weight_says_what_it_picks(weights: list[int]) -> None:
    servers = [Server(bytes((10, 0, 0, place)), 80, weight) for place, weight in enumerate(weights)]
    world = twins("wrr", frozenset())
    world.joined = servers
    world.tell(lambda scheduler: scheduler.start(servers))
    for client in range(200):
        world.pick(client, 0, connect=False)
        if client == 100:
            world.weigh(0, 2**31 - 3)


@pytest.mark.parametrize("seed", range(8))
def test_lblcrs_rankings_do_not_notice_that_it_is_asked(seed: int) -> None:
    twin = LowLimits()
    world = Asked(LowLimits(), twin)
    ranked = 0
    for step in busy_history(seed, servers=10, destinations=4, steps=600):
        play(world, [], [step])
        ranked += len(twin._ranked)
    assert ranked > 0
