"""lblcr picks what its rule picks when the sets are large: ranked, and told late of changes.

Two ways to large sets: limits so low that two servers are many, and farms so big that a set
outgrows the real limits. Weights are small, so that servers are soon overburdened and sets
grow.
"""

from __future__ import annotations

import random
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from schedulers.lblcr import LocalityBasedLeastConnectionReplication
from tests.property.examples import examples
from tests.property.schedulers.address_rules import LiteralLblcr
from tests.property.schedulers.test_same_picks import Step, World, histories, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class LowLimits(LocalityBasedLeastConnectionReplication):
    """Two servers are a large set, and two sets at a time are ranked."""

    LARGE_SET = 2
    MOST_RANKED = 2
    JOURNAL_LENGTH = 5


def check_rankings(lblcr: LocalityBasedLeastConnectionReplication) -> None:
    """Check that the rankings are counted, not too many, and have their sets' members."""
    ranked = [homes for homes in lblcr._ranked if homes.ranking]
    cached = chain.from_iterable(map(dict.values, filter(None, lblcr._buckets)))
    assert len(ranked) == len(lblcr._ranked) <= lblcr.MOST_RANKED
    assert all(homes in ranked for homes in cached if homes.ranking)
    for homes in ranked:
        assert homes.ranking is not None
        assert list(homes.ranking.servers) == homes.servers[::-1]


@given(data=st.data())
@examples(suppress_health_check=[HealthCheck.too_slow])
def test_lblcr_with_low_limits_picks_what_its_rule_picks(data: st.DataObject) -> None:
    weights = st.integers(0, 2)
    start = data.draw(st.lists(weights, min_size=4, max_size=12))
    history = data.draw(histories(weights, most_steps=120))
    fast = LowLimits()
    play(World(fast, LiteralLblcr()), start, history)
    check_rankings(fast)


@given(seed=st.integers(0, 2**32 - 1))
@examples(25)
def test_lblcr_with_low_limits_picks_what_its_rule_picks_through_a_long_life(seed: int) -> None:
    fast = LowLimits()
    world = World(fast, LiteralLblcr())
    for step in busy_history(seed, servers=10, destinations=4, steps=1000):
        play(world, [], [step])
        check_rankings(fast)


@pytest.mark.parametrize("seed", range(6))
def test_lblcr_picks_what_its_rule_picks_from_a_big_farm(seed: int) -> None:
    fast = LocalityBasedLeastConnectionReplication()
    world = World(fast, LiteralLblcr())
    ranked = largest = 0
    for step in busy_history(seed, servers=60, destinations=3, steps=3000):
        play(world, [], [step])
        ranked = max(ranked, len(fast._ranked))
        largest = max([largest, *(len(homes.servers) for homes in fast._ranked)])
    check_rankings(fast)
    assert ranked == 3
    assert largest > 2 * fast.LARGE_SET


def busy_history(seed: int, servers: int, destinations: int, steps: int) -> Iterator[Step]:
    """Yield steps of a life of few destinations, with now and then a burst of endings, or a day.

    A farm of so many servers joins first, about as many are there throughout.
    """
    lots = random.Random(seed)

    def which() -> int:
        return lots.randrange(4 * servers)

    def weight() -> int:
        return lots.choice([0, 1, 1, 1, 2])

    def ending() -> Step:
        return "count", (which(), lots.choice(["deactivate", "close"]))

    for _ in range(servers):
        yield "add", (weight(),)
    choices: dict[Callable[[], list[Step]], int] = {
        lambda: [("pick", (lots.randrange(256), lots.randrange(destinations)))]: 150,
        lambda: [("connect", (lots.randrange(256), lots.randrange(destinations)))]: 500,
        lambda: [ending() for _ in range(3)]: 300,
        lambda: [ending() for _ in range(3 * servers)]: 3,
        lambda: [("count", (which(), "activate"))]: 20,
        lambda: [("bound", (which(), lots.randrange(5), lots.randrange(5)))]: 20,
        lambda: [("weigh", (which(), weight()))]: 30,
        lambda: [("remove", (which(),)), ("add", (weight(),))]: 10,
        lambda: [("remove", (which(),)), ("bring_back", (which(),))]: 10,
        lambda: [("wait", (lots.choice([60.0, 86400.0, 86401.0]),))]: 5,
    }
    for make in lots.choices(list(choices), list(choices.values()), k=steps):
        yield from make()
