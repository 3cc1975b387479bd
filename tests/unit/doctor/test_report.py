"""What was found, as text and as JSON."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from lvsd.doctor.finding import Check, Finding, Level, Result
from lvsd.doctor.report import WIDTH, as_json, as_text, results
from lvsd.doctor.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

WARNING = Finding(Level.WARNING, "may be", "interface back")
PROBLEM = Finding(
    Level.PROBLEM,
    "the real server 10.0.0.12 answers ARP for 198.51.100.10",
    where="interface back, MAC 02:00:0a:00:00:0c",
    remedy="lvsd realserver up --mode tun --vip 2001:db8:51::10 --tunnel ipip --from fd00:10::1",
    at="10.0.0.12",
)


def look(_: Snapshot) -> Iterator[Finding]:
    yield WARNING
    yield PROBLEM
    yield PROBLEM


GOOD = Check("good", "all is well", lambda _: iter(()))
BAD = Check("bad", "never said", look)


def test_findings_come_once_and_the_worst_first() -> None:
    [good, bad] = results([GOOD, BAD], Snapshot())

    assert (good.level, good.findings) == (Level.OK, ())
    assert (bad.level, bad.findings) == (Level.PROBLEM, (PROBLEM, WARNING))


def test_the_text_says_all_in_sixty_columns() -> None:
    assert as_text(results([GOOD, BAD], Snapshot())) == (
        "ok       all is well\n"
        "PROBLEM  bad: the real server 10.0.0.12 answers ARP for\n"
        "         198.51.100.10\n"
        "         where: interface back, MAC 02:00:0a:00:00:0c\n"
        "         fix it on 10.0.0.12:\n"
        "           lvsd realserver up --mode tun --vip \\\n"
        "             2001:db8:51::10 --tunnel ipip --from \\\n"
        "             fd00:10::1\n"
        "warning  bad: may be\n"
        "         where: interface back\n"
    )


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("", "fix it:"),
        ("10.0.0.12", "fix it on 10.0.0.12:"),
        ("the configuration, [daemon]", "fix it in the configuration, [daemon]:"),
    ],
)
def test_the_text_says_where_a_remedy_is_to_be_used(at: str, said: str) -> None:
    finding = Finding(Level.PROBLEM, "it is broken", remedy="do so", at=at)
    lines = as_text([Result(GOOD, (finding,))]).splitlines()
    assert [line.strip() for line in lines[1:]] == [said, "do so"]


def test_a_command_of_several_lines_is_one_to_a_shell() -> None:
    lines = as_text(results([BAD], Snapshot())).splitlines()
    at = next(index for index, line in enumerate(lines) if "lvsd realserver" in line)

    assert max(map(len, lines)) <= WIDTH
    script = "\n".join(["set -- \\", *lines[at : at + 3], 'printf "%s\\n" "$@"'])
    words = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout
    assert words.split() == PROBLEM.remedy.split()


def test_json_names_levels_and_says_whether_all_is_good() -> None:
    report = as_json(results([GOOD, BAD], Snapshot()))

    assert report["good"] is False
    [good, bad] = report["checks"]
    assert good == {"name": "good", "level": "ok", "findings": []}
    assert [finding["level"] for finding in bad["findings"]] == ["problem", "warning"]
    assert bad["findings"][0]["remedy"] == PROBLEM.remedy


def test_warnings_alone_are_good() -> None:
    only = Check("only", "", lambda _: iter((WARNING,)))
    assert as_json(results([only], Snapshot()))["good"] is True
