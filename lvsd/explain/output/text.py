"""An explanation for people to read at a terminal, from 60 columns on, or in a pipe."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich.text import Text

from lvsd.explain.sums import folded, result

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from rich.console import Console

    from forwarders.plan import Plan
    from lvsd.explain.model import (
        Change,
        Choice,
        Explanation,
        Frame,
        Hop,
        Host,
        Journey,
        Layer,
        Sum,
    )

STYLES: Final = {
    "step": "bold green",
    "forwarding": "cyan",
    "follows": "yellow",
    "setting": "magenta",
    "host": "blue",
    "unknown": "bold red",
}
"""How each kind of cause looks."""


def show(
    out: Console,
    explanation: Explanation,
    *,
    packets: Collection[int] | None = None,
    checksums: bool = False,
) -> None:
    """Print an explanation; of its packets only those numbered, from 1, unless None."""
    for line in _head(explanation):
        _print(out, line)
    for number, journey in enumerate(explanation.journeys, 1):
        if packets is None or number in packets:
            show_journey(out, journey, number, checksums=checksums)


def show_journey(out: Console, journey: Journey, number: int, *, checksums: bool = False) -> None:
    """Print one packet's way, under its number."""
    title, *lines = journey_lines(journey, number, checksums=checksums)
    title.stylize("bold reverse" if out.is_terminal else "")
    for line in (Text(), title, *lines):
        _print(out, line)


def journey_lines(journey: Journey, number: int, *, checksums: bool) -> Iterator[Text]:
    """Yield one packet's way, its title first."""
    yield Text(f"{number}. {journey.title} ({journey.direction})")
    for place, hop in enumerate(journey.hops):
        yield from _indented(_hop(hop, whole=place == 0))
    yield Text(f"  {journey.outcome}")
    if journey.entry:
        entry = journey.entry
        ends = f"{entry.client} -> {entry.virtual} -> {entry.real}"
        local = f", from {entry.local}" if entry.local else ""
        yield Text(f"  Its table: {entry.protocol} {ends}{local}")
        life = f"{entry.state}, expires in {entry.expires_s:.0f} s"
        counts = f"the real server has {entry.active} active, {entry.inactive} inactive"
        yield Text(f"    {life}; {counts}")
    for one in journey.sums if checksums else ():
        yield from _indented(_sum(one))


def _indented(lines: Iterable[Text]) -> Iterator[Text]:
    return (Text("  ").append_text(line) for line in lines)


def show_choice(out: Console, choice: Choice) -> None:
    """Print the scheduler's reasons: each candidate with its number."""
    for line in _choice(choice):
        _print(out, line)


def show_plan(out: Console, plan: Plan | None) -> None:
    """Print the steps of a plan, in both directions."""
    for line in _plan(plan):
        _print(out, line)


def _head(explanation: Explanation) -> Iterator[Text]:
    """Yield what is known before the first packet."""
    yield Text(
        f"{explanation.mode}: a {explanation.protocol.upper()} connection to {explanation.virtual}",
        style="bold",
    )
    yield Text()
    yield Text("Who is there", style="bold")
    yield from _hosts(explanation.hosts)
    if explanation.choice:
        yield Text()
        yield from _choice(explanation.choice)
    yield Text()
    yield from _plan(explanation.plan)


def _hosts(hosts: Iterable[Host]) -> Iterator[Text]:
    rows = [
        (host.name if first else "", *interface)
        for host in hosts
        for first, interface in zip((True, *[False] * 9), host.interfaces, strict=False)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield Text(f"  {' '.join(cells)}".rstrip())


def _choice(choice: Choice) -> Iterator[Text]:
    rule = choice.rule or "it does not say"
    yield Text(f"Scheduler {choice.scheduler}: {rule}", style="bold")
    for candidate in choice.candidates:
        counts = f"{candidate.active} active, {candidate.inactive} inactive"
        line = Text(f"  {candidate.server}: weight {candidate.weight}, {counts}: {candidate.text}")
        if candidate.picked:
            line.append(" <- picked")
            line.stylize("bold green")
        yield line


def _plan(plan: Plan | None) -> Iterator[Text]:
    yield Text("The plan", style="bold")
    if plan is None:
        yield Text("  none: no connection came about")
        return
    for direction, steps in (("request", plan.request), ("reply", plan.reply)):
        if steps is None:
            yield Text(f"  {direction:7}  none: it does not come back to the director")
            continue
        for number, step in enumerate(steps):
            line = Text(f"  {'' if number else direction:7}  ")
            yield line.append(str(step), style=STYLES["step"])


def _hop(hop: Hop, *, whole: bool) -> Iterator[Text]:
    """Yield what is seen at a hop: every field of the first one, then what is another."""
    where = f"{hop.host} {hop.interface}".rstrip()
    place = Text.assemble((where, "bold"), f" {hop.title}")
    if whole:
        yield place
        yield from _frame(hop.frame)
    elif not hop.changes:
        yield place.append(": the same packet")
    else:
        yield place
        yield from _changes(hop.changes)


def _frame(frame: Frame) -> Iterator[Text]:
    for layer in frame.layers:
        yield _layer(layer)


def _layer(layer: Layer) -> Text:
    said = ", ".join(f"{field.name} {field.text}" for field in layer.fields)
    return Text.assemble("  ", (layer.name, "bold"), f": {said}")


def _changes(found: Iterable[Change]) -> Iterator[Text]:
    """Yield the changes under what caused them: the plan's steps first, then by the fields."""
    found = list(found)
    kinds = list(STYLES)
    causes = list(dict.fromkeys(change.cause.text for change in found))

    def rank(change: Change) -> tuple[int, int]:
        return kinds.index(change.cause.kind), causes.index(change.cause.text)

    for _, same in groupby(sorted(found, key=rank), key=rank):
        those = list(same)
        yield Text.assemble("  ", (those[0].cause.text, STYLES[those[0].cause.kind]))
        for layer, fields in groupby(those, key=lambda change: change.layer):
            yield from _in_layer(layer, list(fields))


def _in_layer(layer: str, found: list[Change]) -> Iterator[Text]:
    """Yield the changes in one header; one that is new or gone as a whole, in one line."""
    if len(found) > 2 and all(change.before is None for change in found):
        said = ", ".join(f"{change.field} {change.after}" for change in found)
        yield Text(f"    {layer}, new: {said}")
    elif len(found) > 2 and all(change.after is None for change in found):
        yield Text(f"    {layer}: gone")
    else:
        for change in found:
            yield Text(f"    {layer} {change.field}: {_difference(change)}")


def _difference(change: Change) -> str:
    if change.before is None:
        return f"new, {change.after}"
    if change.after is None:
        return f"gone, was {change.before}"
    return f"{change.before} -> {change.after}"


def _sum(one: Sum) -> Iterator[Text]:
    """Yield the arithmetic of a checksum, a line per word."""
    yield Text(f"{one.layer} {one.field}, RFC 1624: HC' = ~(~HC + ~m + m')", style="bold")
    yield Text(f"    HC = {one.before:#06x}")
    for term, total in folded(one):
        yield Text(f"    + {term:<44} = {total:#06x}")
    whole = "" if one.whole is None else f"; computed over everything: {one.whole:#06x}"
    yield Text(f"    ~ = {result(one):#06x}, in the packet {one.after:#06x}{whole}")


def _print(out: Console, text: Text) -> None:
    """Print a line; what does not fit goes on further right."""
    left = len(text.plain) - len(text.plain.lstrip())
    width = max(out.width, left + 20)
    first = text.wrap(out, width)[0] if len(text.plain) > width else text
    rest = Text(text.plain[len(first.plain) :].strip(), style=text.style)
    lines = [first]
    if rest.plain:
        indented = rest.wrap(out, width - left - 2)
        lines += [Text(" " * (left + 2)).append_text(each) for each in indented]
    for each in lines:
        each.rstrip()
        out.print(each, soft_wrap=True)
