"""An explanation as one page for a browser: a player that steps from hop to hop, and all in text.

The page loads nothing, and its policy forbids it to. Without JavaScript, and on paper, it is the
same story as a document. What the player shows is `data.as_data` of the explanation, embedded.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from lvsd.explain.output.canvas import clean
from lvsd.explain.output.data import as_data
from lvsd.explain.output.hostmap import hostmap
from lvsd.explain.output.svg import svg
from lvsd.explain.sums import folded, result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.explain.model import (
        Cause,
        Change,
        Choice,
        Entry,
        Explanation,
        Frame,
        Hop,
        Host,
        Journey,
        Sum,
    )

ARROW: Final = "\N{RIGHTWARDS ARROW}"
NAMESPACE: Final = ' xmlns="http://www.w3.org/2000/svg"'
"""What an SVG document says, and an SVG element of a page need not."""


def html(explanation: Explanation) -> str:
    """Return the page, an HTML document."""
    style, script = _file("player.css"), _file("player.js")
    policy = (
        f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    title = (
        f"{explanation.mode.upper()}: a {explanation.protocol.upper()} connection "
        f"to {explanation.virtual}"
    )
    return Template(_file("page.html")).substitute(
        policy=policy,
        title=clean(title),
        style=style,
        script=script,
        map=hostmap(explanation),
        picture=svg(explanation).replace(NAMESPACE, "", 1),
        plan="\n".join(_plan(explanation)),
        choice="\n".join(_choice(explanation.choice)),
        hosts="\n".join(_hosts(explanation.hosts)),
        story="\n".join(
            line
            for number, journey in enumerate(explanation.journeys, 1)
            for line in _journey(number, journey)
        ),
        data=embedded(as_data(explanation)),
    )


def embedded(data: object) -> str:
    """Return JSON that is safe inside a script element: nothing ends that, or opens a comment."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _file(name: str) -> str:
    return (files("lvsd.explain.output") / "player" / name).read_text(encoding="utf-8")


def _allowed(text: str) -> str:
    """Return the source expression that allows this very element, and no other."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


# --- the connection as a whole ----------------------------------------------------------------


def _plan(explanation: Explanation) -> Iterator[str]:
    """Yield the plan, each step where the player can find it."""
    yield '<section class="plan"><h2>Plan</h2>'
    plan = explanation.plan
    if plan is None:
        yield "<p>None: no connection came about.</p></section>"
        return
    for direction, steps in (("request", plan.request), ("reply", plan.reply)):
        yield f'<h3 class="{direction}">{direction}</h3>'
        if steps is None:
            yield "<p>None: it does not come back to the director.</p>"
        else:
            items = "".join(f"<li>{clean(str(step))}</li>" for step in steps)
            yield f'<ol class="steps" data-direction="{direction}">{items}</ol>'
    yield "</section>"


def _choice(choice: Choice | None) -> Iterator[str]:
    """Yield the scheduler's candidates with their numbers."""
    if choice is None:
        return
    yield f'<section class="choice"><h2>Scheduler {clean(choice.scheduler)}</h2>'
    yield f"<p>{clean(choice.rule or 'It does not say what its rule is.')}</p>"
    heads = ("real server", "weight", "active", "inactive", "number", "arithmetic")
    yield f'<div class="wide"><table><thead>{_row(heads, "th")}</thead><tbody>'
    for each in choice.candidates:
        number = "" if each.number is None else f"{each.number:g}"
        server = f"{each.server} (picked)" if each.picked else each.server
        cells = (server, each.weight, each.active, each.inactive, number, each.text)
        yield _row(cells, mark="picked" if each.picked else "")
    yield "</tbody></table></div></section>"


def _hosts(hosts: Iterable[Host]) -> Iterator[str]:
    yield '<section class="hosts"><h2>Hosts</h2>'
    heads = _row(("host", "interface", "address", "MAC"), "th")
    yield f'<div class="wide"><table><thead>{heads}</thead><tbody>'
    for host in hosts:
        for interface in host.interfaces:
            yield _row((host.name, *interface))
    yield "</tbody></table></div></section>"


# --- packet by packet -------------------------------------------------------------------------


def _journey(number: int, journey: Journey) -> Iterator[str]:
    """Yield one packet's way as a document has it."""
    yield f'<article class="{journey.direction}">'
    yield f"<h3>{number}. {clean(journey.title)} ({journey.direction})</h3><ol>"
    for place, hop in enumerate(journey.hops):
        yield "<li>"
        yield from _hop(hop, whole=place == 0)
        yield "</li>"
    yield f"</ol><p>{clean(journey.outcome)}</p>"
    if journey.entry:
        yield f"<p>{clean(_entry(journey.entry))}</p>"
    for one in journey.sums:
        yield "<details><summary>"
        yield f"{clean(one.layer)} {clean(one.field)}, RFC 1624</summary>{_sum(one)}</details>"
    yield "</article>"


def _hop(hop: Hop, *, whole: bool) -> Iterator[str]:
    """Yield what is seen at a hop: every field of the first one, then what is another."""
    yield f"<h4>{clean(f'{hop.host} {hop.interface} {hop.title}')}</h4>"
    if whole:
        yield from _frame(hop.frame)
    elif not hop.changes:
        yield "<p>The same packet.</p>"
    else:
        causes: dict[Cause, list[Change]] = {}
        for change in sorted(hop.changes, key=lambda change: change.cause.kind != "step"):
            causes.setdefault(change.cause, []).append(change)
        yield "<ul>"
        for cause, found in causes.items():
            items = "".join(f"<li>{clean(_difference(change))}</li>" for change in found)
            yield f'<li class="{cause.kind}">{clean(cause.text)}<ul>{items}</ul></li>'
        yield "</ul>"


def _frame(frame: Frame) -> Iterator[str]:
    yield "<dl>"
    for layer in frame.layers:
        said = ", ".join(f"{field.name} {field.text}" for field in layer.fields)
        yield f"<dt>{clean(layer.name)}</dt><dd>{clean(said)}</dd>"
    yield "</dl>"


def _difference(change: Change) -> str:
    where = f"{change.layer} {change.field}"
    if change.before is None:
        return f"{where}: new, {change.after}"
    if change.after is None:
        return f"{where}: gone, was {change.before}"
    return f"{where}: {change.before} {ARROW} {change.after}"


def _entry(entry: Entry) -> str:
    local = f", from {entry.local}" if entry.local else ""
    return (
        f"In the table: {entry.protocol} {entry.client} {ARROW} {entry.virtual} {ARROW} "
        f"{entry.real}{local}, {entry.state}, expires in {entry.expires_s:.0f} s. The real server "
        f"has {entry.active} active and {entry.inactive} inactive connections."
    )


def _sum(one: Sum) -> str:
    """Return the arithmetic of a checksum, a line per word."""
    lines = [f"HC = {one.before:#06x}"]
    lines += [f"+ {term} = {total:#06x}" for term, total in folded(one)]
    lines.append(f"~ = {result(one):#06x}, in the packet {one.after:#06x}")
    text = "\n".join(clean(line) for line in lines)
    return f"<pre>{text}</pre>"


def _row(cells: Iterable[object], tag: str = "td", mark: str = "") -> str:
    """Return a table's row."""
    scope = ' scope="col"' if tag == "th" else ""
    inside = "".join(f"<{tag}{scope}>{clean(str(cell))}</{tag}>" for cell in cells)
    return f'<tr class="{mark}">{inside}</tr>' if mark else f"<tr>{inside}</tr>"
