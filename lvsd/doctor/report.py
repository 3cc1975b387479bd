"""What was found, for people in 60 columns, or for programs as JSON. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from lvsd.doctor.finding import Level, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.doctor.finding import Check, Finding
    from lvsd.doctor.snapshot import Snapshot

WIDTH: Final = 60
_INDENT: Final = " " * 9
_MARKS: Final = {Level.OK: "ok", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM"}


def results(checks: Iterable[Check], snapshot: Snapshot) -> list[Result]:
    """Return what every check finds."""
    found = []
    for check in checks:
        findings = dict.fromkeys(check.look(snapshot))
        worst_first = sorted(findings, key=lambda finding: -finding.level)
        found.append(Result(check, tuple(worst_first)))
    return found


def as_text(found: Sequence[Result]) -> str:
    """Return lines of at most `WIDTH` columns, save where a single word is longer."""
    return "\n".join(line for result in found for line in _lines(result)) + "\n"


def as_json(found: Sequence[Result]) -> dict[str, Any]:
    """Return the same for JSON: levels by name, ``good`` without a problem."""
    return {
        "good": all(result.level < Level.PROBLEM for result in found),
        "checks": [
            {
                "name": result.check.name,
                "level": result.level.name.lower(),
                "findings": [_entry(finding) for finding in result.findings],
            }
            for result in found
        ],
    }


def _entry(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.name.lower(),
        "what": finding.what,
        "where": finding.where,
        "remedy": finding.remedy,
        "at": finding.at,
    }


def _lines(result: Result) -> Iterator[str]:
    if not result.findings:
        yield from _wrapped(result.check.good, _MARKS[Level.OK])
    for finding in result.findings:
        sentence = f"{result.check.name}: {finding.what}"
        yield from _wrapped(sentence, _MARKS[finding.level])
        if finding.where:
            yield from _wrapped(f"where: {finding.where}")
        if finding.remedy:
            yield from _wrapped(_introduction(finding))
            yield from _command(finding.remedy)


def _introduction(finding: Finding) -> str:
    """Return what stands before a remedy: where it is to be used."""
    if not finding.at:
        return "fix it:"
    preposition = "in" if finding.at.startswith("the configuration") else "on"
    return f"fix it {preposition} {finding.at}:"


def _wrapped(sentence: str, mark: str = "") -> list[str]:
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent=f"{mark:<{len(_INDENT)}}",
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _command(command: str) -> Iterator[str]:
    """Yield a command's lines, which a shell takes as one."""
    indent = _INDENT + "  "
    *lines, last = textwrap.wrap(
        command,
        WIDTH - 2,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from (f"{line} \\" for line in lines)
    yield last
