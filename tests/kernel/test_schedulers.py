"""Every scheduler picks what the kernel's picks, connection by connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulers import BUILT_IN
from tests.kernel.compare import differences, same_choices
from tests.kernel.court import Question
from tests.kernel.histories import histories

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Answer

EACH, EACH_IN_PART = 200, 4
PATIENT, PATIENT_IN_PART = 20, 1
BOOTS, BOOTS_IN_PART = 4, 1
"""The histories without waits are shared out to so many, which may run at the same time."""


def questions(*, full: bool) -> dict[str, Question]:
    """Return random histories of each scheduler, without and with long waits."""
    each = EACH if full else EACH_IN_PART
    patient = PATIENT if full else PATIENT_IN_PART
    names = tuple(BUILT_IN)
    quick = histories(names, each, patient=False)
    boots = BOOTS if full else BOOTS_IN_PART
    asked = {
        f"quick {boot}": Question(quick[boot::boots], virtual_time=False) for boot in range(boots)
    }
    return asked | {"patient": Question(histories(names, patient, patient=True))}


@pytest.mark.parametrize("scheduler", BUILT_IN)
def test_every_pick_is_the_kernels(
    scheduler: str, answers: dict[str, Answer], agreement: Agreement
) -> None:
    quick = [each for name, answer in answers.items() if name != "patient" for each in answer]
    assert different(scheduler, quick, agreement, f"scheduler {scheduler}") == []


@pytest.mark.parametrize("scheduler", BUILT_IN)
def test_every_pick_is_the_kernels_while_connections_time_out(
    scheduler: str, answers: dict[str, Answer], agreement: Agreement
) -> None:
    feature = f"scheduler {scheduler}, with timeouts"
    assert different(scheduler, answers["patient"], agreement, feature) == []


def different(scheduler: str, answer: Answer, agreement: Agreement, feature: str) -> list[str]:
    """Return the first difference of each history of a scheduler."""
    found = []
    for scenario, observations in answer:
        if scenario.name.startswith(f"{scheduler},"):
            here = list(differences(scenario, observations, same_choices))
            agreement.note(feature, here)
            found += here[:1]
    return found
