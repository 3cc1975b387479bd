"""The page of an explanation: complete without its script, safe, and of nothing from outside."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from functools import cache
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import pytest

from lvsd.explain.output.data import as_data
from lvsd.explain.output.html import embedded, html
from tests.unit.explain.cases import every_case, told

VOID = frozenset({"meta", "input", "path", "line", "rect", "circle"})
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


@cache
def page(case: str) -> str:
    return html(told(case))


def data_in(document: str) -> object:
    found = DATA.search(document)
    assert found
    return json.loads(found[1])


class Reader(HTMLParser):
    """Reads a page as a browser without scripts: its elements, and the text that is to be seen."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that opens."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that has no end of its own."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Note what ends and was not open."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep what people read."""
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text += data


@every_case
def test_the_data_in_the_page_are_the_explanations(case: str) -> None:
    assert data_in(page(case)) == json.loads(json.dumps(as_data(told(case))))


@every_case
def test_the_page_loads_nothing_and_has_no_handler_or_style_in_its_elements(case: str) -> None:
    read = Reader(page(case))
    assert (read.wrong, read.open) == ([], [])
    attributes = {name for _, those in read.elements for name in those}
    assert attributes & {"src", "href", "srcset", "style", "action", "data", "xlink:href"} == set()
    assert [name for name in attributes if name.startswith("on")] == []
    shown = DATA.sub("", page(case))
    assert re.findall(r"https?:|url\(|@import|\bimport\b|fetch\(|XMLHttp|eval\(", shown) == []
    assert [tag for tag, _ in read.elements if tag in {"link", "img", "iframe", "object"}] == []


@every_case
def test_without_scripts_the_page_tells_every_change_of_every_hop(case: str) -> None:
    explanation = told(case)
    text = Reader(page(case)).text
    missing = []
    for journey in explanation.journeys:
        assert journey.outcome in text
        for hop in journey.hops:
            assert f"{hop.host} {hop.interface} {hop.title}" in text
            for change in hop.changes:
                values = [value for value in (change.before, change.after) if value is not None]
                missing += [value for value in (*values, change.cause.text) if value not in text]
    assert missing == []


@every_case
def test_plan_hosts_and_candidates_are_in_the_page(case: str) -> None:
    explanation = told(case)
    text = Reader(page(case)).text
    plan, choice = explanation.plan, explanation.choice
    steps = [str(step) for step in (*plan.request, *(plan.reply or ()))] if plan else []
    assert choice is not None
    candidates = [word for one in choice.candidates for word in (one.server, one.text)]
    addresses = [word for host in explanation.hosts for row in host.interfaces for word in row]
    assert [word for word in (*steps, *candidates, *addresses) if word not in text] == []
    assert text.count(" (picked)") == sum(one.picked for one in choice.candidates)


def test_the_policy_allows_this_script_and_this_style_alone() -> None:
    document = page("nat-tcp-False")
    policy = POLICY.search(document)
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", document, re.DOTALL)
    assert policy
    assert style
    assert script
    style_hash, script_hash = (
        f"'sha256-{b64encode(sha256(found[1].encode()).digest()).decode()}'"
        for found in (style, script)
    )
    assert unescape(policy[1]) == (
        f"default-src 'none'; style-src {style_hash}; script-src {script_hash}; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_button_and_control_has_a_name() -> None:
    elements = Reader(page("nat-tcp-False")).elements
    controls = [those for tag, those in elements if tag in {"button", "input"}]
    assert len(controls) == 6
    assert [those for those in controls if not those.get("aria-label")] == []


@pytest.mark.parametrize(
    "hostile",
    [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "<img src=x onerror=alert(1)>",
        "$title ${title} $$ & &amp; ' \"",
        "\u2028\u2029]]>",
    ],
)
def test_no_text_gets_out_of_its_place(hostile: str) -> None:
    explanation = told("nat-tcp-False")
    journeys = tuple(
        replace(
            journey,
            title=hostile,
            outcome=hostile,
            hops=tuple(replace(hop, title=hostile) for hop in journey.hops),
        )
        for journey in explanation.journeys
    )
    attacked = replace(explanation, virtual=hostile, journeys=journeys)
    document = html(attacked)
    assert data_in(document) == json.loads(json.dumps(as_data(attacked)))
    wanted, found = Reader(page("nat-tcp-False")), Reader(document)
    assert (found.wrong, found.open) == ([], [])
    tags = [tag for tag, _ in wanted.elements if tag not in {"text", "rect"}]
    assert [tag for tag, _ in found.elements if tag not in {"text", "rect"}] == tags


def test_embedded_data_have_nothing_that_html_looks_for() -> None:
    text = embedded({"key": "</script><!--&\u2028"})
    assert text == '{"key":"\\u003c/script\\u003e\\u003c!--\\u0026\\u2028"}'
