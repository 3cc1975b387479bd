"""After every packet the connection has the state, the counts and the timeout of the kernel's."""

from __future__ import annotations

from itertools import count, product
from typing import TYPE_CHECKING

import pytest

from tests.kernel.compare import differences, same_sights
from tests.kernel.conversations import (
    MODES,
    PROTOCOLS,
    Written,
    all_written,
    at_random,
    from_table,
)
from tests.kernel.court import Question
from tests.kernel.scenario import Sight

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Answer

EACH, EACH_IN_PART = 100, 6
WRITTEN_IN_PART = 4
"""Every so many-th of the written ones is played in a part run."""


def tables(*, full: bool) -> list[tuple[Written, str, int]]:
    """Return the written conversations that are played, with their modes and versions."""
    return all_written()[:: 1 if full else WRITTEN_IN_PART]


def questions(*, full: bool) -> dict[str, Question]:
    """Return written and random conversations, by kind; all in one boot."""
    number = count()
    scenarios = [from_table(*table, next(number)) for table in tables(full=full)]
    scenarios += [
        at_random(protocol, forward, seed, next(number))
        for protocol, forward in product(PROTOCOLS, MODES)
        for seed in range(1, 1 + (EACH if full else EACH_IN_PART))
    ]
    return {"conversations": Question(scenarios)}


@pytest.fixture(scope="module")
def written(answers: dict[str, Answer], full: bool) -> Answer:  # noqa: FBT001 - a fixture
    """Return the written conversations with what the kernel did."""
    return answers["conversations"][: len(tables(full=full))]


@pytest.fixture(scope="module")
def seeded(answers: dict[str, Answer], full: bool) -> Answer:  # noqa: FBT001 - a fixture
    """Return the random conversations with what the kernel did."""
    return answers["conversations"][len(tables(full=full)) :]


@pytest.mark.parametrize("forward", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_random_conversations_leave_what_the_kernel_has(
    protocol: str, forward: str, seeded: Answer, agreement: Agreement
) -> None:
    found = []
    for scenario, observations in seeded:
        if scenario.name.startswith(f"{protocol}, {forward},"):
            different = list(differences(scenario, observations, same_sights))
            agreement.note(f"states of {protocol.upper()}, {forward.upper()}", different)
            found += different[:1]
    assert found == []


def test_written_conversations_leave_what_the_kernel_has(
    written: Answer, agreement: Agreement
) -> None:
    found = []
    for scenario, observations in written:
        different = list(differences(scenario, observations, same_sights))
        agreement.note("written conversations", different)
        found += different[:1]
    assert found == []


def test_the_tables_of_written_conversations_are_the_kernels(
    written: Answer,
    full: bool,  # noqa: FBT001 - a fixture
) -> None:
    found = []
    for (conversation, forward, _), (scenario, observations) in zip(
        tables(full=full), written, strict=True
    ):
        if forward != "nat":
            continue
        sights = [each.seen for each in observations if isinstance(each.seen, Sight)]
        for line, sight in zip(conversation.lines, sights, strict=True):
            shown = as_in_table(sight)
            if shown != line.after:
                found.append(f"{scenario.name}: {line} is {shown} in the kernel")
    assert found == []


def as_in_table(sight: Sight) -> str:
    """Return a look as the tables have it: state, active, inactive, seconds left, rounded up.

    The kernel rounds down, and a little time has gone by.
    """
    [counts] = sight.counts
    if not sight.entries:
        return f"pass {counts.active} {counts.inactive} 0"
    [entry] = sight.entries
    return f"{entry.state} {counts.active} {counts.inactive} {entry.expires_s + 1:g}"
