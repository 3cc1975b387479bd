"""After every packet the connection has the state, the counts and the timeout of the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel import judge
from tests.kernel.compare import differences, same_sights
from tests.kernel.conversations import (
    MODES,
    PROTOCOLS,
    all_written,
    at_random,
    from_table,
)
from tests.kernel.scenario import Sight

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.scenario import Observation, Scenario

EACH, EACH_IN_PART = 100, 8
WRITTEN_IN_PART = 4
"""Every so many-th of the written ones is played in a part run."""

Answered = list[tuple["Scenario", list["Observation"]]]


class Played:
    """The conversations, with what the kernel did."""

    def __init__(self, agreement: Agreement, *, full: bool) -> None:
        self.tables = all_written()[:: 1 if full else WRITTEN_IN_PART]
        tables = [from_table(*table, number) for number, table in enumerate(self.tables)]
        self.kinds = [
            (protocol, forward)
            for protocol in PROTOCOLS
            for forward in MODES
            for _ in range(EACH if full else EACH_IN_PART)
        ]
        seeded = [
            at_random(*kind, number, len(tables) + number) for number, kind in enumerate(self.kinds)
        ]
        verdicts = judge.ask([*tables, *seeded])
        agreement.kernel = verdicts.kernel
        answered = list(zip([*tables, *seeded], verdicts.observations, strict=True))
        self.written, self.random = answered[: len(tables)], answered[len(tables) :]


@pytest.fixture(scope="module")
def played(agreement: Agreement, full: bool) -> Played:  # noqa: FBT001 - a fixture
    """Return all conversations, played in one boot."""
    return Played(agreement, full=full)


@pytest.mark.parametrize("forward", MODES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_random_conversations_leave_what_the_kernel_has(
    protocol: str, forward: str, played: Played, agreement: Agreement
) -> None:
    found = []
    for kind, (scenario, observations) in zip(played.kinds, played.random, strict=True):
        if kind == (protocol, forward):
            different = list(differences(scenario, observations, same_sights))
            agreement.note(f"states of {protocol.upper()}, {forward.upper()}", different)
            found += different[:1]
    assert found == []


def test_written_conversations_leave_what_the_kernel_has(
    played: Played, agreement: Agreement
) -> None:
    found = []
    for scenario, observations in played.written:
        different = list(differences(scenario, observations, same_sights))
        agreement.note("written conversations", different)
        found += different[:1]
    assert found == []


def test_the_tables_of_written_conversations_are_the_kernels(played: Played) -> None:
    found = []
    for (conversation, forward, _), (scenario, observations) in zip(
        played.tables, played.written, strict=True
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
