"""The documentation holds together: links lead somewhere, examples are good, no page is missing."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from forwarders import FORWARDERS
from lvsd.config.load import check
from lvsd.core.verdict import Reason
from lvsd.explain import picks
from lvsd.explain.outcome import REASONS
from schedulers import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
SITE: Final = sorted(DOCS.rglob("*.md"))
PAGES: Final = [*sorted(ROOT.glob("*.md")), *SITE]
"""What is checked: the site's pages, and those that a code host shows first."""

CHECKED_ELSEWHERE: Final = DOCS / "configuration.md"
"""One of its examples is bad on purpose: tests/unit/config/test_documentation.py."""

ELSEWHERE: Final = re.compile(r"[a-z]+:")
MARKDOWN: Final = MarkdownIt("commonmark").enable("table")


class Link(NamedTuple):
    """What a link or a picture on ``line`` leads to, as it is written."""

    line: int
    target: str


class Example(NamedTuple):
    """A block of code on ``line``; ``kind`` is the word behind the fence."""

    line: int
    kind: str
    text: str


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text("utf-8"))


@cache
def links(page: Path) -> list[Link]:
    return [
        Link((token.map or [0])[0] + 1, unquote(str(target)))
        for token in tokens(page)
        for child in token.children or ()
        if (target := child.attrs.get("href") or child.attrs.get("src"))
    ]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as code hosts and MyST name them."""
    found: Counter[str] = Counter()
    names = set()
    for opening, inline in zip(tokens(page), tokens(page)[1:], strict=False):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return frozenset(names)


def broken(page: Path) -> Iterator[Link]:
    """Yield the links that lead nowhere."""
    for link in links(page):
        if ELSEWHERE.match(link.target):
            continue
        file, _, anchor = link.target.partition("#")
        place = page.parent / file if file else page
        gone = file.startswith("/") or not place.exists()
        if gone or (anchor and anchor not in anchors(place.resolve())):
            yield link


def examples(page: Path) -> list[Example]:
    return [
        Example((token.map or [0])[0] + 1, token.info.strip(), token.content)
        for token in tokens(page)
        if token.type == "fence"
    ]


def listed(page: Path) -> list[Path]:
    """Return the pages that a page's toctrees name, in their order."""
    return [
        (page.parent / f"{line}.md").resolve()
        for example in examples(page)
        if example.kind == "{toctree}"
        for line in example.text.splitlines()
        if line and not line.startswith(":")
    ]


def linked(page: Path) -> list[Path]:
    """Return the pages of the site that a page links to, in their order."""
    places = ((page.parent / link.target).resolve() for link in links(page))
    return [place for place in places if place in SITE]


CONFIGURED: Final = [
    page for page in PAGES if page != CHECKED_ELSEWHERE and "[[service]]" in page.read_text("utf-8")
]
"""The pages that may show a configuration; to parse them all would take as long as all imports."""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", CONFIGURED, ids=named)
def test_every_configuration_shown_is_good(page: Path, tmp_path: Path) -> None:
    shown = [
        example
        for example in examples(page)
        if example.kind == "toml" and "[[service]]" in example.text
    ]
    problems = {}
    for example in shown:
        file = tmp_path / f"line{example.line}.toml"
        file.write_text(example.text)
        problems[example.line] = check(file)[1]
    assert problems == {example.line: [] for example in shown}


def test_configurations_are_found_on_pages() -> None:
    assert any(example.kind == "toml" for page in CONFIGURED for example in examples(page))


def test_every_page_stands_in_one_toctree() -> None:
    entries = [entry for page in SITE for entry in listed(page)]
    assert sorted(entries) == [page for page in SITE if page != DOCS / "index.md"]


def test_the_front_page_links_to_what_its_toctrees_list_in_that_order() -> None:
    assert linked(DOCS / "index.md") == listed(DOCS / "index.md")


@pytest.mark.parametrize(("folder", "names"), [("modes", FORWARDERS), ("schedulers", BUILT_IN)])
def test_each_has_a_page_which_the_index_links_to(folder: str, names: dict[str, object]) -> None:
    index = DOCS / folder / "index.md"
    pages = {DOCS / folder / f"{name}.md" for name in names}
    assert {page for page in SITE if page.parent == index.parent} == {index, *pages}
    assert pages <= set(linked(index))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_schedulers_page_shows_its_own_picture_and_picks(name: str) -> None:
    page = DOCS / "schedulers" / f"{name}.md"
    assert f"../pictures/schedulers/{name}.svg" in [link.target for link in links(page)]
    assert _made(page) == [f"lvsd explain --scheduler {name}"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_schedulers_page_names_its_flags(name: str) -> None:
    page = (DOCS / "schedulers" / f"{name}.md").read_text("utf-8")
    rows = re.findall(r"^\| flags \| (.*) \|$", page, re.MULTILINE)
    assert [frozenset(re.findall("`(.+?)`", row)) for row in rows] == [BUILT_IN[name].known_flags]


@pytest.mark.parametrize("name", FORWARDERS)
def test_a_modes_page_shows_its_own_picture_and_hops(name: str) -> None:
    page = DOCS / "modes" / f"{name}.md"
    assert f"../pictures/{name}.svg" in [link.target for link in links(page)]
    assert _made(page) == [f"lvsd explain --mode {name}"]


@pytest.mark.parametrize("name", ["sh", "mh", "dh"])
def test_a_hashs_page_works_out_the_numbers_that_lvsd_does(name: str) -> None:
    page = (DOCS / "schedulers" / f"{name}.md").read_text("utf-8")
    rows = re.findall(r"^\| \d \| ([\d.]+) \| (\d+) \| (?:\d \| )?(\w) \|$", page, re.MULTILINE)
    assert f"--picks 8 --clients {','.join(row[0] for row in rows)} --markdown" in page
    made = picks(name, (3, 2, 1), 6, clients=[row[0] for row in rows])
    chosen = [next(each for each in pick.candidates if each.picked) for pick in made]
    assert [(number, server) for _, number, server in rows] == [
        (re.findall(r"\d+", each.text)[0], each.server) for each in chosen
    ]


def test_the_comparisons_figures_are_the_measured_ones_rounded() -> None:
    """They were copied by hand from tables that ``make bench`` writes."""
    measured = (DOCS / "performance.md").read_text("utf-8")
    end_to_end = measured.partition("<!-- bench:end-to-end -->")[2].partition("<!-- end -->")[0]
    modes = measured.partition("<!-- bench:modes -->")[2].partition("<!-- end -->")[0]
    ways = [_figures(end_to_end, way)[::2] for way in ("lvsd", "HAProxy, TCP mode", "nginx stream")]

    page = (DOCS / "comparison.md").read_text("utf-8")
    shown = [
        _figures(page, "requests/s on connections that stay open"),
        _figures(page, "requests/s, one per connection"),
        _figures(page, "one TCP stream, Gbit/s"),
    ]
    assert shown == [[_rounded(figure) for figure in row] for row in zip(*ways, strict=True)]

    dr, haproxy = (_rounded(_figures(modes, way)[2]) for way in ("dr", "HAProxy, TCP mode"))
    new = _rounded(_figures(measured, "IPv4 TCP, new connections, FULLNAT")[0])
    memory = _figures(measured, "bytes a connection, resident (target: 700)")[0]
    assert f"[{dr:,.0f} beside HAProxy's {haproxy:,.0f}]" in page
    assert f"[{new:,.0f} new FULLNAT connections a second]" in page
    assert f"| {memory:.0f} bytes (IPv4)" in page


def _figures(page: str, row: str) -> list[float]:
    """Return the numbers in the first row that begins so."""
    found = re.search(rf"^\| {re.escape(row)} \|(.+)\|$", page, re.MULTILINE)
    assert found, row
    return [float(cell.replace(",", "")) for cell in found[1].split("|")]


def _rounded(figure: float) -> float:
    """Return two significant digits of it."""
    return float(f"{figure:.1e}")


def _made(page: Path) -> list[str]:
    """Return the first words of the commands that make a page's tables."""
    made = re.compile(r"^<!-- made: (lvsd explain --\w+ \w+)", re.MULTILINE)
    return made.findall(page.read_text("utf-8"))


def test_every_reason_to_drop_is_explained_to_operators_and_by_explain() -> None:
    page = (DOCS / "lvsadm.md").read_text("utf-8")
    table = page.partition("## Why packets are dropped")[2].partition("Two of ipvsadm")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if "|" in line
    ]
    assert [row[0] for row in rows[2:]] == [f"`{reason.value}`" for reason in Reason]
    assert all(len(row) == 3 and all(row) for row in rows[2:])
    assert list(REASONS) == list(Reason)
