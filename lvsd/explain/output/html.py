"""An explanation as one page for a browser: a player that steps from hop to hop, and all in text.

The page loads nothing, and its policy forbids it to. Without JavaScript, and on paper, it tells the
same story as a document, in the words of `text`. What the player shows is `data.as_data` of the
explanation, embedded.
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
from lvsd.explain.output.text import journey_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.explain.model import Choice, Explanation, Host, Journey

NAMESPACE: Final = ' xmlns="http://www.w3.org/2000/svg"'
"""What an SVG document says, and an SVG element of a page need not."""


def html(explanation: Explanation) -> str:
    """Return the page, an HTML document."""
    style, script = _file("player.css"), _file("player.js")
    policy = (
        f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_file("page.html")).substitute(
        policy=policy,
        title=clean(explanation.title),
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


def _journey(number: int, journey: Journey) -> Iterator[str]:
    """Yield one packet's way as a document has it: what a terminal shows."""
    title, *lines = (line.plain for line in journey_lines(journey, number, checksums=True))
    said = "\n".join(map(clean, lines))
    yield f'<article class="{journey.direction}"><h3>{clean(title)}</h3>'
    yield f"<pre>{said}</pre></article>"


def _row(cells: Iterable[object], tag: str = "td", mark: str = "") -> str:
    """Return a table's row."""
    scope = ' scope="col"' if tag == "th" else ""
    inside = "".join(f"<{tag}{scope}>{clean(str(cell))}</{tag}>" for cell in cells)
    return f'<tr class="{mark}">{inside}</tr>' if mark else f"<tr>{inside}</tr>"
