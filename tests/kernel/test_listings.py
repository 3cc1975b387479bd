"""lvsadm prints what the real ipvsadm prints after the same story."""

from __future__ import annotations

import re
from itertools import count, product
from typing import TYPE_CHECKING

from schedulers import BUILT_IN
from tests.kernel.compare import differences
from tests.kernel.conversations import MODES, PROTOCOLS, at_random
from tests.kernel.court import Question
from tests.kernel.histories import history
from tests.kernel.scenario import Listing, Look, Operation, Scenario, Wait

if TYPE_CHECKING:
    from tests.kernel.conftest import Agreement
    from tests.kernel.court import Answer

STORIES, STORIES_IN_PART = 8, 1
SUMMED_UP_S = 2.2
"""The kernel sums its counters up every two seconds."""

ARGUMENTS = (
    "-Ln",
    "-Ln --stats",
    "-Ln --stats --exact",
    "-Ln --thresholds",
    "-Ln --persistent-conn",
    "-Ln --tun-info",
    "-Lnc",
    "-Lnc --persistent-conn",
    "-L --timeout",
)


def story(seed: int) -> Scenario:
    """Return a history of each scheduler and a conversation of each kind; then all is listed."""
    number = count(seed * 100)
    parts = [history(scheduler, seed, next(number), patient=False) for scheduler in BUILT_IN]
    parts += [at_random(*kind, seed, next(number)) for kind in product(PROTOCOLS, MODES)]
    told = [each for part in parts for each in part.operations if not _takes_long(each)]
    listings = map(Listing, ARGUMENTS)
    return Scenario(f"listings, seed {seed}", (*told, Wait(SUMMED_UP_S), *listings))


def _takes_long(operation: Operation) -> bool:
    return isinstance(operation, Look) or (isinstance(operation, Wait) and operation.seconds > 1)


def same_text(operation: Operation, theirs: object, ours: object) -> str | None:
    """Compare what was printed; connections in any order, a second more or less to live."""
    if not isinstance(operation, Listing):
        return None
    kernel, lvsd = str(theirs).splitlines(), str(ours).splitlines()
    if "c" in operation.arguments.partition(" ")[0]:
        left = [[_without_expiry(line) for line in sorted(lines)] for lines in (kernel, lvsd)]
        if sorted(left[0]) != sorted(left[1]):
            return f"ipvsadm prints {left[0]}, lvsadm {left[1]}"
        seconds = [sorted(map(_expiry, lines)) for lines in (kernel, lvsd)]
        close = all(abs(a - b) <= 1 for a, b in zip(*seconds, strict=True))
        return None if close else f"expiry: {seconds[0]}, lvsadm {seconds[1]}"
    if kernel != lvsd:
        lines = [pair for pair in zip(kernel, lvsd, strict=False) if pair[0] != pair[1]]
        return f"{len(kernel)} and {len(lvsd)} lines; ipvsadm and lvsadm print {lines[:3]}"
    return None


_EXPIRY = re.compile(r"^(\S+ +)(\d\d):(\d\d) ")


def _without_expiry(line: str) -> str:
    return _EXPIRY.sub(r"\1MM:SS ", line)


def _expiry(line: str) -> int:
    found = _EXPIRY.match(line)
    return int(found[2]) * 60 + int(found[3]) if found else 0


def questions(*, full: bool) -> dict[str, Question]:
    """Return stories with listings at their end."""
    stories = STORIES if full else STORIES_IN_PART
    return {"stories": Question([story(seed) for seed in range(1, 1 + stories)])}


def test_lvsadm_prints_what_ipvsadm_prints(
    answers: dict[str, Answer], agreement: Agreement
) -> None:
    found = []
    for scenario, observations in answers["stories"]:
        different = list(differences(scenario, observations, same_text))
        agreement.note("ipvsadm's listings", different)
        found += different[:1]
    assert found == []
