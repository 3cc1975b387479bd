"""What a scheduler does not look at never changes its picks.

The histories of test_same_picks.py are played to two schedulers of a kind. For each pick one of
them gets a flow in which all that the scheduler does not look at is another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from bench.schedulers import PICKS_ONLY, WITH_CONNECTIONS
from schedulers import BUILT_IN
from schedulers.base import EVERYTHING, Flow, Scheduler, Server
from tests.property.examples import examples
from tests.property.schedulers.test_same_picks import WEIGHTS, World, histories, play
from tests.property.schedulers.test_weigh import flow_of

if TYPE_CHECKING:
    from schedulers.base import Looked

PAGE = Path(__file__).parents[3] / "docs" / "schedulers" / "index.md"

VARIANTS = [
    (name, frozenset(flags))
    for name, kind in BUILT_IN.items()
    for flags in chain.from_iterable(
        combinations(sorted(kind.known_flags), size) for size in range(len(kind.known_flags) + 1)
    )
]
"""Every scheduler with every set of its flags."""


def altered(flow: Flow, kept: frozenset[Looked], lots: Random) -> Flow:
    """Return a flow that agrees with another in some parts, and differs in all others."""
    source = flow.source if "source" in kept else lots.randbytes(4)
    destination = flow.destination if "destination" in kept else lots.randbytes(4)
    ports = flow.source_port, flow.destination_port
    if "ports" not in kept:
        ports = lots.randrange(65536), lots.randrange(65536)
    return Flow(source, ports[0], destination, ports[1])


@dataclass
class Unlike(World):
    """A world whose two schedulers of a kind are asked about flows that are the same to them."""

    lots: Random = field(default_factory=lambda: Random(0))
    unlike: bool = False

    def pick(self, client: int, destination: int, *, connect: bool) -> None:
        """Ask both, and compare."""
        flow = flow_of(client, destination)
        other = altered(flow, self.fast.looks_at, self.lots)
        picked = self.fast.pick(flow, self.now)
        same = self.rule.pick(other, self.now) is picked
        self.unlike = self.unlike or not same
        if picked is not None and connect:
            picked.open()
            picked.activate()
            self.tell(lambda scheduler: scheduler.changed(picked))


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@examples(50, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_scheduler_does_not_look_at_changes_no_pick(
    name: str, flags: frozenset[str], data: st.DataObject, seed: int
) -> None:
    start = data.draw(st.lists(WEIGHTS, max_size=6))
    history = data.draw(histories(WEIGHTS, most_steps=10 if name == "mh" else 60))
    kind = BUILT_IN[name]
    world = Unlike(kind(flags), kind(flags), lots=Random(seed))
    play(world, start, history)
    assert not world.unlike


@pytest.mark.parametrize(("name", "flags"), VARIANTS)
def test_each_part_that_a_scheduler_looks_at_changes_picks(
    name: str, flags: frozenset[str]
) -> None:
    for part in BUILT_IN[name](flags).looks_at:
        kept = EVERYTHING - {part}
        scheduler = BUILT_IN[name](flags)
        for number in range(5):
            scheduler.add(Server(bytes((10, 0, 0, number)), 80, 1))
        picks = set()
        for seed in range(40):
            picked = scheduler.pick(altered(flow_of(1, 1), kept, Random(seed)), 0.0)
            assert picked is not None
            picks.add(picked.address)
            picked.open()
            picked.activate()
            scheduler.changed(picked)
        assert len(picks) > 1, part


@pytest.mark.parametrize(
    ("name", "flags"), [each for each in VARIANTS if not BUILT_IN[each[0]].asks_counts]
)
@given(data=st.data())
@examples(20, suppress_health_check=[HealthCheck.too_slow])
def test_counts_change_no_pick_of_a_scheduler_that_does_not_ask_them(
    name: str, flags: frozenset[str], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=6))
    told, untold = (_farm(BUILT_IN[name](flags), weights) for _ in range(2))
    for client in data.draw(st.lists(st.integers(0, 255), max_size=40)):
        flow = flow_of(client, client % 5)
        picked, expected = told[0].pick(flow, 0.0), untold[0].pick(flow, 0.0)
        assert _place(told, picked) == _place(untold, expected)
        busy = data.draw(st.sampled_from(told[1]))
        busy.open()
        busy.activate()
        told[0].changed(busy)


def _farm(scheduler: Scheduler, weights: list[int]) -> tuple[Scheduler, list[Server]]:
    servers = [Server(bytes((10, 0, 0, place)), 80, each) for place, each in enumerate(weights)]
    for server in servers:
        scheduler.add(server)
    return scheduler, servers


def _place(farm: tuple[Scheduler, list[Server]], picked: Server | None) -> int | None:
    return None if picked is None else farm[1].index(picked)


def test_every_built_in_scheduler_says_itself_what_it_looks_at() -> None:
    assert [name for name, kind in BUILT_IN.items() if "looks_at" not in vars(kind)] == []


def test_who_says_nothing_is_taken_to_look_at_everything() -> None:
    assert (Scheduler.looks_at, Scheduler.asks_counts) == (EVERYTHING, True)


def test_the_page_lists_what_each_scheduler_looks_at() -> None:
    rows = re.findall(r"^\| (nothing|the [^|]+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    said = {
        (each.split()[0], each.partition("`")[2].rstrip("`")): what
        for what, names in rows
        for each in names.split(", ")
    }
    parts = {
        frozenset[str](): "nothing",
        frozenset({"source"}): "the source",
        frozenset({"source", "ports"}): "the source and the ports",
        frozenset({"destination"}): "the destination",
    }
    looked = {
        (name, "".join(flag for flag in flags if flag.endswith("-port"))): parts[
            frozenset[str](BUILT_IN[name](flags).looks_at)
        ]
        for name, flags in VARIANTS
    }
    assert said == looked


def test_the_benchmarks_lists_are_what_the_schedulers_say() -> None:
    asking = {name for name, kind in BUILT_IN.items() if kind.asks_counts}
    assert (set(PICKS_ONLY), set(WITH_CONNECTIONS)) == (BUILT_IN.keys() - asking, asking)
