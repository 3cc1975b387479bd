"""What `lvsd bench schedulers --kernel` compares: the kernel's picks in a history of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvsd.bench.history import DRIFT_S, history
from lvsd.bench.kernel import comparison
from lvsd.bench.plugins import chosen
from lvsd.bench.quality import Case, scaled
from lvsd.bench.workloads import arrivals
from schedulers import BUILT_IN
from tests.kernel import picks
from tests.kernel.court import Question

if TYPE_CHECKING:
    from tests.kernel.court import Answer

WEIGHTS = (3, 1, 2, 5)
CONNECTIONS = 60
LIFETIME_S, DURATION_S = 5.0, 60.0
CASE = Case(
    1,
    WEIGHTS,
    arrivals("steady", active=11, lifetime_s=LIFETIME_S, duration_s=DURATION_S, seed=1),
    DURATION_S,
    linger_s=10.0,
)
STORY = history(CASE.arrivals, CONNECTIONS)


def question() -> dict[str, Any]:
    """Return what is asked of the kernel."""
    return STORY.question([(name, scaled(name, CASE)) for name in BUILT_IN])


def questions(*, full: bool) -> dict[str, Question]:
    """Return one history, which connections both end and are forgotten in, of each scheduler."""
    del full
    return {"picks": Question(picks.scenarios(question()))}


@pytest.mark.parametrize("scheduler", BUILT_IN)
def test_ours_and_the_rule_pick_what_the_kernel_picks(
    scheduler: str, answers: dict[str, Answer]
) -> None:
    scenario, observations = next(each for each in answers["picks"] if each[0].name == scheduler)
    found, drift_s = picks.picks(question(), scenario, observations)
    assert drift_s < DRIFT_S
    assert None not in found
    (candidate,) = chosen(scheduler)
    compared = comparison(candidate, found, STORY, scaled(scheduler, CASE))
    assert (compared.ours_agree, compared.rule_agree) == (CONNECTIONS, CONNECTIONS)
