"""Every fast scheduler picks what its rule, spelled out in `rules` and `address_rules`, picks.

A random history is played to both at once, on the same servers: picks, connections through
their whole life, weights, thresholds, servers that come, go and come back, time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from schedulers import BUILT_IN
from schedulers.base import Flow, Scheduler, Server
from tests.property.examples import examples
from tests.property.schedulers import address_rules, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RULES: dict[str, type[rules.Literal]] = {
    rule.name: rule
    for rule in (
        rules.LiteralRr,
        rules.LiteralWrr,
        rules.LiteralLc,
        rules.LiteralWlc,
        address_rules.LiteralLblc,
        address_rules.LiteralLblcr,
        address_rules.LiteralDh,
        address_rules.LiteralSh,
        rules.LiteralSed,
        rules.LiteralNq,
        address_rules.LiteralMh,
        rules.LiteralFo,
        rules.LiteralOvf,
    )
}

VARIANTS = [
    *((name, frozenset[str]()) for name in RULES),
    ("sh", frozenset({"sh-port"})),
    ("sh", frozenset({"sh-fallback"})),
    ("sh", frozenset({"sh-port", "sh-fallback"})),
    ("mh", frozenset({"mh-port"})),
    ("mh", frozenset({"mh-fallback"})),
]

WEIGHTS = st.one_of(
    st.integers(0, 6),
    st.sampled_from([0, 1, 10, 20, 100, 65535, 65534, 2**31 - 1, 2**31 - 2]),
)
"""Mostly small, so that ties and common divisors are frequent; some as large as they can be."""

SMALL_WEIGHTS = st.integers(0, 12)
"""wrr's and mh's literal rules walk through every value of cw, and through every turn."""


@dataclass
class World:
    """One service, its servers, and the two schedulers that are told the same of it."""

    fast: Scheduler
    rule: Scheduler
    now: float = 0.0
    joined: list[Server] = field(default_factory=list)
    left: list[Server] = field(default_factory=list)
    serial: int = 0

    def tell(self, notice: Callable[[Scheduler], None]) -> None:
        """Notify both."""
        notice(self.fast)
        notice(self.rule)

    def add(self, weight: int) -> None:
        """Let a new server join."""
        self.serial += 1
        server = Server(bytes((10, 0, self.serial >> 8, self.serial & 255)), 80, weight)
        self.joined.append(server)
        self.tell(lambda scheduler: scheduler.add(server))

    def remove(self, which: int) -> None:
        """Let a server leave; its connections go on."""
        if self.joined:
            server = self.joined.pop(which % len(self.joined))
            self.left.append(server)
            self.tell(lambda scheduler: scheduler.remove(server))

    def bring_back(self, which: int) -> None:
        """Let a server that has left join again, with its counts."""
        if self.left:
            server = self.left.pop(which % len(self.left))
            self.joined.append(server)
            self.tell(lambda scheduler: scheduler.add(server))

    def weigh(self, which: int, weight: int) -> None:
        """Give a server another weight."""
        if self.joined:
            server = self.joined[which % len(self.joined)]
            server.set_weight(weight)
            self.tell(lambda scheduler: scheduler.edit(server))

    def bound(self, which: int, upper: int, lower: int) -> None:
        """Give a server other thresholds."""
        if self.joined:
            server = self.joined[which % len(self.joined)]
            server.set_thresholds(upper, min(lower, upper))
            self.tell(lambda scheduler: scheduler.edit(server))

    def count(self, which: int, event: str) -> None:
        """Let a connection of a server, present or past, go on in its life."""
        servers = self.joined + self.left
        if not servers:
            return
        server = servers[which % len(servers)]
        if event == "activate" and server.inactive:
            server.activate()
        elif event == "deactivate" and server.active:
            server.deactivate()
        elif event == "close" and server.inactive:
            server.close()
        self.tell(lambda scheduler: scheduler.changed(server))

    def pick(self, client: int, destination: int, *, connect: bool) -> None:
        """Ask both; let the connection be opened and become active if so wished."""
        flow = Flow(
            bytes((203, 0, 113, client)), 1024 + client * 7, bytes((10, 9, 8, destination)), 80
        )
        picked = self.fast.pick(flow, self.now)
        assert picked is self.rule.pick(flow, self.now)
        if picked is not None and connect:
            picked.open()
            picked.activate()
            self.tell(lambda scheduler: scheduler.changed(picked))

    def wait(self, seconds: float) -> None:
        """Let time go by, and both be told."""
        self.now += seconds
        self.tell(lambda scheduler: scheduler.tick(self.now))


INDEX = st.integers(0, 11)
BYTE = st.integers(0, 255)
SECONDS = st.sampled_from([1.0, 30.0, 60.0, 61.0, 360.0, 1800.0, 86399.0, 86400.0, 86401.0])

Step = tuple[str, tuple[object, ...]]


@cache
def histories(weights: st.SearchStrategy[int], most_steps: int) -> st.SearchStrategy[list[Step]]:
    """Return lists of (method of `World`, arguments).

    Once for all examples: Hypothesis looks through a new strategy before it draws from it.
    """

    def step(method: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
        return st.tuples(st.just(method), st.tuples(*arguments))

    pick = step("pick", BYTE, st.integers(0, 5))
    connect = step("connect", BYTE, st.integers(0, 5))
    steps = st.one_of(
        pick,
        pick,
        connect,
        connect,
        connect,
        step("add", weights),
        step("add", weights),
        step("remove", INDEX),
        step("bring_back", INDEX),
        step("weigh", INDEX, weights),
        step("bound", INDEX, st.integers(0, 5), st.integers(0, 5)),
        step("count", INDEX, st.sampled_from(["activate", "deactivate", "close"])),
        step("count", INDEX, st.sampled_from(["deactivate", "close"])),
        step("wait", SECONDS),
    )
    return st.lists(steps, min_size=1, max_size=most_steps)


def play(world: World, weights: list[int], history: list[Step]) -> None:
    """Let the servers join, then the history happen."""
    for weight in weights:
        world.add(weight)
    for method, arguments in history:
        if method in {"pick", "connect"}:
            world.pick(*arguments, connect=method == "connect")  # type: ignore[arg-type]
        else:
            getattr(world, method)(*arguments)


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
@given(data=st.data())
@examples(suppress_health_check=[HealthCheck.too_slow])
def test_a_fast_scheduler_picks_what_its_rule_picks(
    name: str, flags: frozenset[str], data: st.DataObject
) -> None:
    weights = SMALL_WEIGHTS if name in {"wrr", "mh"} else WEIGHTS
    start = data.draw(st.lists(weights, max_size=6))
    history = data.draw(histories(weights, most_steps=10 if name == "mh" else 60))
    play(World(BUILT_IN[name](flags), RULES[name](flags)), start, history)


MOST_SERVERS = 6


def long_history(seed: int, steps: int) -> Iterator[Step]:
    """Yield steps of a crowded life: few servers, tight thresholds, a day now and then."""
    lots = random.Random(seed)

    def weight() -> int:
        return lots.choice([0, 1, 1, 2, 2, 3, 4, 6, 8, 9])

    def which() -> int:
        return lots.randrange(4 * MOST_SERVERS)

    choices: dict[Callable[[], Step], int] = {
        lambda: ("pick", (lots.randrange(256), lots.randrange(4))): 15,
        lambda: ("connect", (lots.randrange(256), lots.randrange(4))): 35,
        lambda: ("count", (which(), lots.choice(["deactivate", "close", "close"]))): 30,
        lambda: ("count", (which(), "activate")): 4,
        lambda: ("bound", (which(), lots.randrange(5), lots.randrange(5))): 4,
        lambda: ("weigh", (which(), weight())): 3,
        lambda: ("add", (weight(),)): 2,
        lambda: ("bring_back", (which(),)): 2,
        lambda: ("remove", (which(),)): 2,
        lambda: ("wait", (lots.choice([1.0, 60.0, 86399.0, 86400.0, 86401.0]),)): 3,
    }
    for make in lots.choices(list(choices), list(choices.values()), k=steps):
        yield make()


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
@given(seed=st.integers(0, 2**32 - 1))
@examples(15)
def test_a_fast_scheduler_picks_what_its_rule_picks_through_a_long_crowded_life(
    name: str, flags: frozenset[str], seed: int
) -> None:
    world = World(BUILT_IN[name](flags), RULES[name](flags))
    for step in long_history(seed, steps=150 if name == "mh" else 1500):
        if step[0] not in {"add", "bring_back"} or len(world.joined) < MOST_SERVERS:
            play(world, [], [step])


@pytest.mark.parametrize("name", ["lblc", "lblcr"])
@given(history=st.data())
@examples(50, suppress_health_check=[HealthCheck.too_slow])
def test_a_small_cache_is_swept_as_the_rule_says(name: str, history: st.DataObject) -> None:
    """The cache holds 8 entries in place of 16384, so that it overflows."""
    fast = type("Small", (BUILT_IN[name],), {"MAX_ENTRIES": 8})()
    rule = type("Small", (RULES[name],), {"MAX_ENTRIES": 8})()
    world = World(fast, rule)
    for weight in (1, 2, 3):
        world.add(weight)
    busy = st.one_of(
        st.tuples(st.just("connect"), BYTE, BYTE),
        st.tuples(st.just("connect"), BYTE, BYTE),
        st.tuples(st.just("wait"), SECONDS),
        st.tuples(st.just("count"), INDEX, st.sampled_from(["deactivate", "close"])),
    )
    steps = history.draw(st.lists(busy, min_size=20, max_size=120))
    play(world, [], [(method, arguments) for method, *arguments in steps])  # type: ignore[misc]
    remembered = {address for part in fast._buckets for address in part}
    assert remembered == set(rule.cache)
