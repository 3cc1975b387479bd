"""Every scheduler picks what the kernel's picks, connection by connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulers import BUILT_IN
from tests.kernel import judge
from tests.kernel.compare import differences, same_choices
from tests.kernel.histories import histories

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.scenario import Observation, Scenario

EACH, EACH_IN_PART = 200, 12
PATIENT, PATIENT_IN_PART = 20, 2

Played = dict[str, list[tuple["Scenario", list["Observation"]]]]


def play(agreement: Agreement, each: int, *, patient: bool) -> Played:
    """Ask the kernel about so many histories of each scheduler, in one boot."""
    made = histories(tuple(BUILT_IN), each, patient=patient)
    verdicts = judge.ask(made, virtual_time=patient)
    agreement.kernel = verdicts.kernel
    answered = list(zip(made, verdicts.observations, strict=True))
    return {
        scheduler: answered[number * each : (number + 1) * each]
        for number, scheduler in enumerate(BUILT_IN)
    }


@pytest.fixture(scope="module")
def played(agreement: Agreement, full: bool) -> Played:  # noqa: FBT001 - a fixture
    """Return histories without waits, with what the kernel did."""
    return play(agreement, EACH if full else EACH_IN_PART, patient=False)


@pytest.fixture(scope="module")
def played_with_waits(agreement: Agreement, full: bool) -> Played:  # noqa: FBT001 - a fixture
    """Return histories in which connections time out, with what the kernel did."""
    return play(agreement, PATIENT if full else PATIENT_IN_PART, patient=True)


@pytest.mark.parametrize("scheduler", BUILT_IN)
def test_every_pick_is_the_kernels(scheduler: str, played: Played, agreement: Agreement) -> None:
    found = []
    for scenario, observations in played[scheduler]:
        different = list(differences(scenario, observations, same_choices))
        agreement.note(f"scheduler {scheduler}", different)
        found += different[:1]
    assert found == []


@pytest.mark.parametrize("scheduler", BUILT_IN)
def test_every_pick_is_the_kernels_while_connections_time_out(
    scheduler: str, played_with_waits: Played, agreement: Agreement
) -> None:
    found = []
    for scenario, observations in played_with_waits[scheduler]:
        different = list(differences(scenario, observations, same_choices))
        agreement.note(f"scheduler {scheduler}, with timeouts", different)
        found += different[:1]
    assert found == []
