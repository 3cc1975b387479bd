"""How the lab and the demo look: a map, a table of shares. Fits 60 columns, and a pipe."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rich.syntax import Syntax
from rich.text import Text

from lvsd import tables
from lvsd.bench.estimate import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from lvsd.lab.lab import Lab
    from lvsd.lab.rules import Outcome


def addresses(lab: Lab) -> Table:
    """Return the hosts with their interfaces and addresses; where ways differ, the servers'."""
    table = tables.plain()
    for heading in ("host", "interface", "IPv4", "IPv6"):
        table.add_column(heading, overflow="fold")
    routed = any(node.way not in {"", "nat"} for node in lab.topology.nodes)
    for node in lab.topology.nodes:
        for link in node.links:
            first, last = link.addresses[0], link.addresses[-1]
            table.add_row(
                f"{node.name} {node.way}" if routed else node.name,
                link.interface,
                first.v4,
                first.v6,
            )
            if first != last:
                table.add_row("", "  up to", last.v4, last.v6)
    table.add_row("VIP", "", lab.vip.v4, lab.vip.v6)
    return table


def shares(outcome: Outcome, weights: Mapping[str, int]) -> Table:
    """Return what each server had to answer, what it answered, and how fast."""
    table = tables.plain()
    table.add_column("server", no_wrap=True)
    for heading in ("weight", "expected", "seen", "median ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    seen = outcome.seen
    whole, answered = sum(outcome.expected.values()), sum(seen.values())
    for name, count in seen.items():
        expected = outcome.expected.get(name, 0)
        latencies = [answer.latency_s for answer in outcome.answers if answer.server == name]
        colour = "green" if count == expected else "red"
        table.add_row(
            name,
            str(weights.get(name, "-")),
            _share(expected, whole),
            f"[{colour}]{_share(count, answered)}[/]",
            _milliseconds(statistics.median(latencies)) if latencies else "-",
            _milliseconds(percentile(latencies, 99)) if latencies else "-",
        )
    return table


def listing(out: Console, toml: str) -> None:
    """Print a configuration file: in colours on a terminal, else as it is."""
    if out.is_terminal:
        out.print(Syntax(toml, "toml", background_color="default", padding=(1, 2)))
    else:
        out.print(f"\n{toml}", markup=False, soft_wrap=True)


def changed(before: str, after: str) -> Text:
    """Return ``after`` with each word bold that is not in its place in ``before``.

    A line is held against the last one before that begins with the same word, as layers do, so
    that what a tunnel put in front is bold and what it holds is not.
    """
    former = [line.split() for line in before.splitlines()]
    lines: list[Text] = []
    for line in reversed(after.splitlines()):
        words = line.split()
        same = [old for old in former if old[:1] == words[:1]]
        if same:
            former = former[: former.index(same[-1])]
        lines.append(_bold(line, words, same[-1] if same else []))
    return Text("\n").join(reversed(lines))


def _bold(line: str, words: list[str], former: list[str]) -> Text:
    text = Text(line[: len(line) - len(line.lstrip())])
    for number, word in enumerate(words):
        text.append(word, style="" if former[number : number + 1] == [word] else "bold green")
        text.append(" ")
    text.right_crop(1)
    return text


def command(out: Console, text: str) -> None:
    """Print a command to copy: on one line, however narrow the terminal is."""
    out.print(f"  {text}", style="cyan", markup=False, soft_wrap=True)


def _share(count: int, whole: int) -> str:
    return f"{count} {count / whole:4.0%}" if whole else "0"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"
