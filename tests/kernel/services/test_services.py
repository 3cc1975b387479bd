"""Services do what the kernel's do: the same servers, entries, timeouts and counts all along."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernel.compare import differences
from tests.kernel.court import Question
from tests.kernel.services.allowed import same_services
from tests.kernel.services.at_random import stories
from tests.kernel.services.changes import STORIES as CHANGES
from tests.kernel.services.lookup import STORIES as LOOKUP
from tests.kernel.services.persistence import STORIES as PERSISTENCE
from tests.kernel.services.removed import STORIES as REMOVED
from tests.kernel.services.story import Told, scenario

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Answer
    from tests.kernel.scenario import Observation, Scenario

WRITTEN = (*PERSISTENCE, *LOOKUP, *REMOVED, *CHANGES)
EACH_LOOK, EACH_LOOK_IN_PART = 3, 6
RANDOM, RANDOM_IN_PART = 200, 10
AT_RANDOM = "all features of services together"
VIPS, FIRST_RANDOM_VIP = 150, 155


class Asked(NamedTuple):
    """A scenario, what it is about, and what the kernel did."""

    feature: str
    about: str
    scenario: Scenario
    observations: list[Observation]


def written(*, full: bool) -> list[tuple[Told, Scenario]]:
    """Return the written stories, in all their ways or in one."""
    every = EACH_LOOK if full else EACH_LOOK_IN_PART
    told = [(each, way) for each in WRITTEN for way in (each.ways if full else each.ways[:1])]
    return [
        (each, scenario(each, way, 1 + number % VIPS, every))
        for number, (each, way) in enumerate(told)
    ]


def questions(*, full: bool) -> dict[str, Question]:
    """Return all stories, written and random ones, for one boot."""
    made = stories(RANDOM if full else RANDOM_IN_PART, FIRST_RANDOM_VIP)
    return {"stories": Question([*(each for _, each in written(full=full)), *made])}


@pytest.fixture(scope="module")
def asked(answers: dict[str, Answer], full: bool) -> list[Asked]:  # noqa: FBT001 - a fixture
    """Return all stories, with what the kernel did."""
    answer = answers["stories"]
    about = [(told.feature, told.sentence) for told, _ in written(full=full)]
    about += [(AT_RANDOM, AT_RANDOM)] * (len(answer) - len(about))
    return [Asked(*each, *played) for each, played in zip(about, answer, strict=True)]


def different(asked: list[Asked], about: str, agreement: Agreement) -> list[str]:
    """Return the first difference of each scenario that tells one story, and note what agreed."""
    found = []
    for each in asked:
        if each.about == about:
            here = list(differences(each.scenario, each.observations, same_services))
            agreement.note(each.feature, here)
            found += here[:1]
    return found


@pytest.mark.parametrize("sentence", [each.sentence for each in WRITTEN])
def test_a_story_goes_as_the_kernels(
    sentence: str, asked: list[Asked], agreement: Agreement
) -> None:
    assert different(asked, sentence, agreement) == []


def test_random_stories_go_as_the_kernels(asked: list[Asked], agreement: Agreement) -> None:
    assert different(asked, AT_RANDOM, agreement) == []


def test_every_story_has_a_name_of_its_own() -> None:
    told = Counter(each.sentence for each in WRITTEN)
    assert [sentence for sentence, times in told.items() if times > 1] == []
