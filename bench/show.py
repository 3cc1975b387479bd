"""What a comparison found, for people and for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.markup import escape

from bench.verdict import OVERALL, Verdict, Word
from lvsd import tables
from lvsd.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.inference import Rounds
    from bench.trees import Trees

COLOURS = {Word.FASTER: "green", Word.SLOWER: "red", Word.NONE: "default"}


def as_text(
    trees: Trees, rounds: int, results: Sequence[Verdict], failures: Mapping[str, str]
) -> None:
    """Print a table with a line for each benchmark, and how to read it."""
    out = console()
    out.print(f"this tree against {trees.commit} ({escape(trees.summary)}), {rounds} rounds")
    table = tables.plain()
    table.add_column("benchmark", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("verdict")
    for result in results:
        if result.name == OVERALL:
            table.add_section()
        table.add_row(
            result.name,
            f"{result.ratio:.3f}",
            f"{result.low:.3f}-{result.high:.3f}",
            f"[{COLOURS[result.word]}]{said(result)}[/]",
        )
    if results:
        out.print(table)
        out.print(
            "time: this tree's over the other's, medians; below 1 is faster.\n"
            "interval: bootstrap over rounds. verdict: signed-rank test, Holm for all together.",
            style="dim",
        )
    for name, reason in failures.items():
        out.print(f"not compared: {name}: {reason}", markup=False, soft_wrap=True)


def said(result: Verdict) -> str:
    """Return a verdict in words."""
    if result.word is Word.NONE:
        return f"{result.word} (within {result.within:.1%})"
    return f"{result.word} by {abs(result.ratio - 1):.1%}"


def as_json(
    trees: Trees,
    rounds: int,
    results: Sequence[Verdict],
    samples: Mapping[str, Rounds],
    failures: Mapping[str, str],
) -> None:
    """Print everything as one JSON object, seconds of all turns included."""
    found = {
        "revision": trees.commit,
        "summary": trees.summary,
        "rounds": rounds,
        "benchmarks": [
            {
                **_fields(result),
                "seconds": {
                    "old": [old for old, _ in samples[result.name]],
                    "new": [new for _, new in samples[result.name]],
                },
            }
            for result in results
            if result.name != OVERALL
        ],
        "overall": _fields(results[-1]) if results else None,
        "not_compared": [{"name": name, "reason": reason} for name, reason in failures.items()],
    }
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _fields(result: Verdict) -> dict[str, str | float]:
    return {
        "name": result.name,
        "ratio": result.ratio,
        "low": result.low,
        "high": result.high,
        "adjusted_p": result.p,
        "verdict": str(result.word),
    }
