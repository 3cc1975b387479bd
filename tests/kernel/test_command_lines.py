"""lvsadm answers what ipvsadm answers on kernel IPVS: status, output, errors, and the table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.kernel.command_lines import SCRIPTS, at_random, script
from tests.kernel.compare import differences
from tests.kernel.court import Question
from tests.kernel.scenario import Answered, Operation, Typed

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Answer

PLAYS, LINES = 5, 48
SCRIPTS_IN_PART, LINES_IN_PART = 3, 24


def questions(*, full: bool) -> dict[str, Question]:
    """Return published scripts, and lines at random."""
    scripts = [script(name, text) for name, text in SCRIPTS.items()]
    if full:
        plays = [at_random(seed, LINES) for seed in range(1, 1 + PLAYS)]
        return {"lines": Question([*scripts, *plays])}
    return {"lines": Question([*scripts[:SCRIPTS_IN_PART], at_random(1, LINES_IN_PART)])}


def same_answer(operation: Operation, theirs: object, ours: object) -> str | None:
    """Compare what both say; ours may go on to say more, and saves thresholds and timeouts."""
    if not (
        isinstance(operation, Typed) and isinstance(theirs, Answered) and isinstance(ours, Answered)
    ):
        return None
    their_errors = theirs.errors.replace("ipvsadm", "lvsadm").strip()
    our_errors = ours.errors.strip()
    is_same = (
        theirs.status == ours.status
        and theirs.output == _as_saved_by_ipvsadm(ours.output)
        and (
            our_errors == their_errors
            or (their_errors and our_errors.startswith(f"{their_errors}: "))
        )
    )
    return None if is_same else f"ipvsadm says {theirs}, lvsadm {ours}"


_MORE = re.compile(r"^(-a .*?)(?: -x \d+)?(?: -y \d+)?$|^--set .*\n", re.MULTILINE)


def _as_saved_by_ipvsadm(output: str) -> str:
    return _MORE.sub(lambda found: found[1] or "", output)


def test_lvsadm_answers_what_ipvsadm_answers(
    answers: dict[str, Answer], agreement: Agreement
) -> None:
    found = []
    for scenario, observations in answers["lines"]:
        different = list(differences(scenario, observations, same_answer))
        agreement.note("ipvsadm's command lines", different)
        found += different
    assert found == []


def test_there_are_two_hundred_lines_and_more() -> None:
    asked = questions(full=True)["lines"].scenarios
    assert sum(isinstance(each, Typed) for scenario in asked for each in scenario.operations) > 200
