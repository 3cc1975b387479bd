"""A connection on a real wire has the changes that the explanation on paper has, for one reason."""

from __future__ import annotations

import os
import re
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import pytest

from lvsd.cli import main
from lvsd.explain import explain
from lvsd.lab.live import live
from lvsd.lab.plan import WAYS
from lvsd.lab.segments import DIRECTIONS
from lvsd.net.namespaces import NETNS
from tests.netns.lab.ahead import ahead, wanted
from tests.unit.explain.checksum_faults import checksum_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from lvsd.explain import Explanation, Journey
    from lvsd.lab.modes import Family

pytestmark = pytest.mark.netns

FAMILIES: tuple[Family, ...] = ("v4", "v6")
CASES: list[tuple[str, Family]] = list(product(WAYS, FAMILIES))
LOCAL_END = re.compile(r"(10\.0\.0\.2|\[fd00:10::2\]):\d+")

Seen: TypeAlias = "dict[tuple[str, Family], Future[Explanation]]"


@pytest.fixture(scope="module")
def seen_live(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Have the labs built, those that are asked for."""
    cases = wanted(request, "case")
    with ahead(lambda case: live(*case, "rr"), [case for case in CASES if case in cases]) as done:
        yield dict(done)


def without_local_port(text: str) -> str:
    """Return what a step says without the local port, which begins at random."""
    return LOCAL_END.sub(r"\1:LPORT", text)


def places(journey: Journey) -> list[tuple[str, str]]:
    """Return where a packet came by, and what happened there."""
    return [(hop.host, hop.title) for hop in journey.hops]


def changed(journey: Journey) -> list[tuple[str, str, str, str]]:
    """Return what changed at which host: layer, field, and why."""
    return sorted(
        (hop.host, change.layer, change.field, without_local_port(change.cause.text))
        for hop in journey.hops
        for change in hop.changes
    )


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_on_the_wire_is_what_is_on_paper(case: tuple[str, Family], seen_live: Seen) -> None:
    mode, family = case
    seen = seen_live[case].result()

    told = explain(mode, ipv6=family == "v6", scheduler="rr", weights=[1, 1, 1])
    on_paper = {journey.title: journey for journey in told.journeys}
    assert [journey.title for journey in seen.journeys] == list(DIRECTIONS)
    for journey in seen.journeys:
        paper = on_paper[journey.title]
        assert places(journey) == places(paper)
        assert changed(journey) == changed(paper)
        assert journey.outcome == paper.outcome
    assert without_local_port(str(seen.plan)) == without_local_port(str(told.plan))
    assert seen.choice == told.choice
    states = {each.title: each.entry.state for each in seen.journeys if each.entry}
    assert states == {
        title: entry.state for title in states if (entry := on_paper[title].entry) is not None
    }
    assert list(states) == ["ACK", "HTTP reply", "FIN from the real server"]
    faults = [
        fault
        for journey in seen.journeys
        for hop in journey.hops
        for fault in checksum_faults(hop.frame)
    ]
    assert faults == []


def test_nothing_is_left_of_the_labs(seen_live: Seen) -> None:
    for done in seen_live.values():
        done.exception()

    assert list(NETNS.glob(f"lvsd-live-{os.getpid()}-*")) == []


def test_the_command_tells_it_as_the_one_on_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--live", "--mode", "dr", "--markdown", "--packets", "1"]) == 0
    seen = capsys.readouterr().out
    assert main(["explain", "--mode", "dr", "--markdown", "--packets", "1"]) == 0
    assert seen == capsys.readouterr().out
