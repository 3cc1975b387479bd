"""What leaves the real daemon, byte for byte, is what leaves the kernel; or it is said why not."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.kernel.court import Question
from tests.kernel.rewriting import cases_icmp, cases_odd, cases_random, cases_ways, daemon, shapes
from tests.kernel.rewriting.masks import RULES, compared
from tests.kernel.scenario import Send, Side

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Court
    from tests.kernel.rewriting.talk import Case
    from tests.kernel.scenario import Scenario, Seen

FEATURES = (
    "NAT",
    "DR",
    "TUN ipip",
    "TUN gue",
    "TUN gre",
    "ICMP errors",
    "ICMP errors about tunnels",
    "no server",
    "the host's own",
    "random packets",
)
TITLES = tuple(f"rewriting: {feature}" for feature in FEATURES)
RANDOM, RANDOM_IN_PART = 150, 12
PART = 12
"""Of each feature's other cases, one of so many is played in a part run."""


@dataclass(frozen=True)
class Played:
    """A scenario, and what came of it: the kernel's, and lvsd's."""

    feature: str
    scenario: Scenario
    theirs: list[object]
    ours: list[tuple[Seen, ...]]


@cache
def all_cases(full: bool) -> tuple[Case, ...]:  # noqa: FBT001 - a fixture
    """Return the cases to play: all of them, or a part of each feature's."""
    written = [*cases_ways.cases(), *cases_icmp.cases(), *cases_odd.cases()]
    if full:
        return (*written, *cases_random.cases(RANDOM))
    of_feature = [[case for case in written if case.feature == each] for each in TITLES]
    part = itertools.chain(*(cases[::PART] for cases in of_feature))
    return (*part, *cases_random.cases(RANDOM_IN_PART))


def questions(*, full: bool) -> dict[str, Question]:
    """Return all cases as one question."""
    scenarios = [case.scenario for case in all_cases(full)]
    return {"packets": Question(scenarios, virtual_time=False)}


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest,
    court: Court,
    full: bool,  # noqa: FBT001 - a fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Played]:
    """Play the cases to lvsd, while the kernel is asked."""
    cases = all_cases(full)
    scenarios = [case.scenario for case in cases]
    with daemon.running(scenarios, tmp_path_factory.mktemp("lvsd")) as player:
        ours = [player.carry_out(scenario) for scenario in scenarios]
        log = player.daemon.log
    assert daemon.complaints(log) == []
    answer = court.answers(request.module)["packets"]
    return [
        Played(case.feature, case.scenario, [each.seen for each in theirs], lvsds)
        for case, (_, theirs), lvsds in zip(cases, answer, ours, strict=True)
    ]


@pytest.mark.parametrize("feature", TITLES, ids=FEATURES)
def test_what_leaves_lvsd_is_what_leaves_the_kernel(
    feature: str, played: list[Played], agreement: Agreement
) -> None:
    found = []
    for each in played:
        if each.feature == feature:
            different, _ = compared(each.scenario, each.theirs, each.ours)
            agreement.note(feature, [different] if different else [])
            found += [different] if different else []
    assert not found, "\n".join(found[:5])


def test_the_cases_have_every_feature(played: list[Played]) -> None:
    assert {each.feature for each in played} == set(TITLES)


def test_every_difference_that_is_allowed_is_there(
    played: list[Played],
    full: bool,  # noqa: FBT001 - a fixture
) -> None:
    if not full:
        pytest.skip("a part of the cases need not have all differences: run with --full")
    used = [compared(each.scenario, each.theirs, each.ours)[1] for each in played]
    assert set().union(*used) == {rule.row for rule in RULES}


def test_a_bit_that_is_changed_in_any_packet_is_seen(played: list[Played]) -> None:
    chance = random.Random(1)
    unseen = []
    for each in played:
        for number, (theirs, ours) in enumerate(zip(each.theirs, each.ours, strict=True)):
            if isinstance(each.scenario.operations[number], Send) and theirs == ours and ours:
                changed = _with_a_bit_changed(chance, ours)
                others = [*each.ours[:number], changed, *each.ours[number + 1 :]]
                different, _ = compared(each.scenario, each.theirs, others)
                if different is None:
                    unseen.append(f"{each.scenario.name}: operation {number}: {changed}")
    assert unseen == []


def _with_a_bit_changed(chance: random.Random, seen: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """Return packets with a bit changed in one of them, or another MAC or side."""
    at = chance.randrange(len(seen))
    changed = seen[at]
    what = chance.random()
    if what < 0.05:
        changed = changed._replace(mac=bytes(6))
    elif what < 0.1:
        other = Side.SERVER if changed.side is Side.CLIENT else Side.CLIENT
        changed = changed._replace(side=other)
    else:
        byte = chance.randrange(shapes.header_bytes(changed.data), len(changed.data))
        value = changed.data[byte] ^ 1 << chance.randrange(8)
        data = shapes.with_bytes(changed.data, byte, bytes((value,)))
        changed = changed._replace(data=data)
    return (*seen[:at], changed, *seen[at + 1 :])
