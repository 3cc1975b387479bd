"""How soon after somebody's change the tables are put up again, and how often at most."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest

from lvsd.io.ruleset_watch import RulesetWatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lvsd.io.divert import Divert


class World:
    """A clock, a loop with one timer, and tables that somebody damages all the time."""

    def __init__(self, took_s: float) -> None:
        self.now = 1000.0
        self.took_s = took_s
        self.said: list[int] = []
        self.due: Callable[[], None] | None = None
        self.watch = RulesetWatch(
            cast("Divert", self), lambda _, times: self.said.append(times), lambda: self.now
        )
        self.watch._loop = cast("asyncio.AbstractEventLoop", self)

    def mend(self) -> list[str]:
        """Take the time that mending takes."""
        self.now += self.took_s
        return ["lvsd_guard"]

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Let the time pass."""
        self.now += delay_s
        self.due = callback

    def damage(self) -> float:
        """Damage a table; return after how many seconds mending began."""
        began = self.now
        self.watch._mend_in_time()
        if self.due is not None:
            due, self.due = self.due, None
            due()
        return self.now - self.took_s - began


def test_the_first_damage_is_mended_at_once_and_so_is_one_after_a_quiet_second() -> None:
    world = World(0.002)
    assert world.damage() == 0
    assert world.damage() > 0
    world.now += 1
    assert world.damage() == 0


@pytest.mark.parametrize("took_s", [0.0001, 0.002, 0.08])
def test_whoever_damages_all_the_time_is_followed_ever_more_slowly(took_s: float) -> None:
    world = World(took_s)
    pauses = [world.damage() for _ in range(200)]
    assert all(later >= sooner - 1e-9 for sooner, later in pairwise(pauses))
    assert pauses[-1] >= 8.9 * took_s
    assert pauses[-1] <= max(0.101, 9.1 * took_s)


def test_it_is_said_at_once_and_then_once_a_minute_with_the_number() -> None:
    world = World(0.001)
    began = world.now
    mended = 0
    while world.now < began + 150:
        world.damage()
        mended += 1
        world.now += 0.5
    assert len(world.said) == 3
    assert world.said[0] == 1
    assert sum(world.said) <= mended
    assert min(world.said[1:]) > 1
