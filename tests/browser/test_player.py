"""The page's player in a real browser: what it shows at each hop is what the explanation has.

A headless Chromium is told what to do by its DevTools protocol, over a pipe.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.explain.making import Question, make
from lvsd.explain.output.html import html
from lvsd.explain.story import explain_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.explain.model import Explanation, Hop, Journey

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium enables it"
)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
    "--remote-debugging-pipe",
)

CASES: dict[str, dict[str, Any]] = {
    "nat": {"mode": "nat"},
    "dr": {"mode": "dr", "ipv6": True, "protocol": "udp"},
    "tun": {"mode": "tun", "tunnel": "gue", "ipv6": True},
    "fullnat": {"mode": "fullnat", "client_address": "proxy-v2"},
    "nobody": {"mode": "nat", "weights": [0]},
}

SHOWN = """(() => {
    const text = (id) => document.getElementById(id).textContent;
    const all = (selector, take) => [...document.querySelectorAll(selector)].map(take);
    return {
        hash: location.hash,
        where: text("where"),
        outcome: document.querySelector(".outcome").textContent,
        entry: text("entry"),
        sums: all("#sums pre", (each) => each.textContent),
        bytes: all("#bytes .digits [data-byte]", (each) => each.textContent).join(""),
        layers: all("#layers table", (table) => [
            table.caption.firstChild.textContent,
            [...table.tBodies[0].rows].map((row) => [
                row.classList[0],
                row.cells[1].textContent,
                row.cells[2].textContent,
                row.cells[3].textContent,
            ]),
        ]),
        plan: all(".steps .lit", (each) => each.textContent),
        here: all("#map .here", (each) => each.dataset.host),
        packet: document.getElementById("packet").style.transform,
        current: all("#packets [aria-current]", (each) => each.textContent),
        slider: Number(document.getElementById("slider").value),
        play: text("play"),
        lit: all("#layers .lit", (each) => each.cells[1].textContent),
        litBytes: all("#bytes .digits .lit", (each) => Number(each.dataset.byte)),
    };
})()"""


class Browser:
    """A Chromium with one page; what it complains of is in ``complaints``."""

    def __init__(self, profile: Path) -> None:
        there, out = (_high(end) for end in os.pipe())
        back, theirs = (_high(end) for end in os.pipe())
        self._pid = os.posix_spawn(
            str(CHROMIUM),
            ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, there, 3),
                (os.POSIX_SPAWN_DUP2, theirs, 4),
            ],
        )
        os.close(there)
        os.close(theirs)
        self._out, self._in = os.fdopen(out, "wb"), os.fdopen(back, "rb")
        self._number, self._session, self._rest = 0, "", b""
        self.complaints: list[str] = []
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: object) -> Any:
        """Return the result of one of the protocol's methods."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        answer = self._wait(lambda each: each.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def event(self, method: str) -> None:
        """Wait for an event."""
        self._wait(lambda each: each.get("method") == method)

    def _wait(self, wanted: Any) -> Any:
        while True:
            while b"\0" not in self._rest:
                read = os.read(self._in.fileno(), 1 << 20)
                assert read, "chromium has ended"
                self._rest += read
            line, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(line)
            if message.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded"}:
                self.complaints.append(line.decode())
            if wanted(message):
                return message

    def open(self, url: str) -> None:
        """Load a page."""
        self.ask("Page.navigate", url="about:blank")
        self.event("Page.loadEventFired")
        self.ask("Page.navigate", url=url)
        self.event("Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """Return what a script's expression comes to."""
        result = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def shown(self) -> Any:
        """Return what the page shows."""
        return self.run(SHOWN)

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        with suppress(AssertionError, OSError):
            self.ask("Browser.close")
        os.waitpid(self._pid, 0)
        self._out.close()
        self._in.close()


def _high(number: int) -> int:
    """Return a descriptor that is in nobody's way."""
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(number)
    return moved


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=CASES)
def story(request: pytest.FixtureRequest) -> Explanation:
    return explain_case(make(Question(**CASES[request.param])))


@pytest.fixture
def url(story: Explanation, tmp_path: Path) -> str:
    path = tmp_path / "page.html"
    path.write_text(html(story), encoding="utf-8")
    return path.as_uri()


def steps(story: Explanation) -> list[tuple[int, int, Journey, Hop]]:
    """Return all hops, with the numbers of packet and hop from 1."""
    return [
        (packet, number, journey, hop)
        for packet, journey in enumerate(story.journeys, 1)
        for number, hop in enumerate(journey.hops, 1)
    ]


def rows(hop: Hop) -> list[list[Any]]:
    """Return the tables that a hop's frame has to be shown in."""
    there = {(each.layer, each.field): each for each in hop.changes if each.after is not None}
    gone = [each for each in hop.changes if each.after is None]
    tables: list[list[Any]] = []
    for layer in hop.frame.layers:
        lines = []
        for field in layer.fields:
            change = there.get((layer.name, field.name))
            if change is None:
                lines.append(["same", field.name, field.text, ""])
            elif change.before is None:
                lines.append(["come", field.name, field.text, change.cause.text])
            else:
                both = f"{change.before} \N{RIGHTWARDS ARROW} {field.text}"
                lines.append(["changed", field.name, both, change.cause.text])
        tables.append([layer.name, lines])
    for name in dict.fromkeys(each.layer for each in gone):
        those = [each for each in gone if each.layer == name]
        lines = [["gone", each.field, each.before or "", each.cause.text] for each in those]
        tables.append([name, lines])
    return tables


def test_every_hop_is_shown_as_the_explanation_has_it(
    browser: Browser, story: Explanation, url: str
) -> None:
    browser.open(url)
    for index, (packet, number, journey, hop) in enumerate(steps(story)):
        shown = browser.shown()
        assert shown["where"] == (
            f"Packet {packet} of {len(story.journeys)}, {journey.title} ({journey.direction}). "
            f"Hop {number} of {len(journey.hops)}: {hop.host} {hop.interface} {hop.title}"
        )
        assert shown["hash"] == (f"#{packet}.{number}" if index else "")
        assert shown["slider"] == index
        assert shown["bytes"] == hop.frame.data.hex()
        assert shown["layers"] == rows(hop)
        assert shown["outcome"] == journey.outcome
        assert shown["here"] == [hop.host]
        assert shown["current"] == [f"{packet} {journey.title}"]
        by_step = {each.cause.text for each in hop.changes if each.cause.kind == "step"}
        assert set(shown["plan"]) == by_step
        assert len(shown["sums"]) == len(journey.sums)
        for text, one in zip(shown["sums"], journey.sums, strict=True):
            assert f"~ = {one.after:#06x}, in the packet {one.after:#06x}" in text
        entry = journey.entry
        ends = (entry.state, entry.client, entry.virtual, entry.real) if entry else ("no conn",)
        assert [end for end in ends if end not in shown["entry"]] == []
        browser.press("ArrowRight")
    assert browser.shown()["slider"] == len(steps(story)) - 1
    assert browser.complaints == []


@pytest.mark.parametrize("story", ["tun", "fullnat"], indirect=True)
def test_the_packet_moves_with_every_hop(browser: Browser, story: Explanation, url: str) -> None:
    browser.open(url)
    places = []
    for _ in story.journeys[0].hops:
        places.append(browser.shown()["packet"])
        browser.press("ArrowRight")
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("story", ["fullnat"], indirect=True)
def test_a_hop_can_be_linked_to(browser: Browser, story: Explanation, url: str) -> None:
    places = [(packet, number) for packet, number, _, _ in steps(story)]
    for packet, number in places[::7]:
        browser.open(f"{url}#{packet}.{number}")
        assert browser.shown()["slider"] == places.index((packet, number))
    change = (
        "new Promise((done) => {{ addEventListener('hashchange', done, {{ once: true }}); "
        "location.hash = '{}'; }}).then(() => 0)"
    )
    browser.run(change.format("#2"))
    assert browser.shown()["slider"] == places.index((2, 1))
    browser.run(change.format("#99.1"))
    assert browser.shown()["slider"] == places.index((2, 1))


@pytest.mark.parametrize("story", ["nat"], indirect=True)
def test_keys_and_buttons_go_to_and_fro(browser: Browser, story: Explanation, url: str) -> None:
    last = len(steps(story)) - 1
    browser.open(url)
    found = []
    for key in ("End", "ArrowRight", "ArrowLeft", "Home", "ArrowLeft", "ArrowRight"):
        browser.press(key)
        found.append(browser.shown()["slider"])
    assert found == [last, last, last - 1, 0, 0, 1]
    found = []
    for button in ("last", "back", "first", "next"):
        browser.run(f"document.getElementById('{button}').click()")
        found.append(browser.shown()["slider"])
    assert found == [last, last - 1, 0, 1]
    browser.run("document.getElementById('next').focus()")
    browser.press("End")
    browser.press("Home")
    assert browser.shown()["slider"] == 0
    browser.run("document.querySelectorAll('#packets button')[4].click()")
    assert browser.shown()["hash"] == "#5.1"
    browser.run(
        "document.getElementById('slider').value = 2;"
        "document.getElementById('slider').dispatchEvent(new Event('input'))"
    )
    assert browser.shown()["hash"] == "#1.3"


@pytest.mark.parametrize("story", ["nobody"], indirect=True)
def test_playing_goes_on_to_the_last_hop_and_stops_there(
    browser: Browser, story: Explanation, url: str
) -> None:
    browser.open(url)
    browser.run("document.getElementById('speed').value = '800'")
    ended = (
        "new Promise((done) => new MutationObserver(() => {"
        "if (document.getElementById('play').textContent === 'Play') { done(); }"
        "}).observe(document.getElementById('play'), { childList: true })).then(() => 0)"
    )
    browser.press(" ")
    assert browser.shown()["play"] == "Pause"
    browser.press(" ")
    assert browser.shown()["play"] == "Play"
    browser.press(" ")
    browser.run(ended)
    assert browser.shown()["slider"] == len(steps(story)) - 1


@pytest.mark.parametrize("story", ["tun"], indirect=True)
def test_a_field_lights_its_bytes_and_a_byte_its_fields(
    browser: Browser, story: Explanation, url: str
) -> None:
    hop = story.journeys[0].hops[0]
    browser.open(url)
    over = "dispatchEvent(new MouseEvent('mouseover', { bubbles: true }))"
    packet = hop.frame.get("IPv6")
    assert packet
    source, version = packet.get("source"), packet.get("version")
    assert source
    assert version
    browser.run(f"document.querySelector('#layers [data-at=\"{source.at}\"]').{over}")
    shown = browser.shown()
    assert shown["litBytes"] == list(range(source.at, source.at + source.length))
    assert shown["lit"] == ["source"]
    browser.run(f"document.querySelector('#bytes [data-byte=\"{version.at}\"]').{over}")
    shown = browser.shown()
    assert shown["litBytes"] == [version.at]
    sharing = [
        field.name
        for layer in hop.frame.layers
        for field in layer.fields
        if field.at <= version.at < field.at + field.length
    ]
    assert shown["lit"] == sharing
    assert "version" in sharing


@pytest.mark.parametrize("story", ["fullnat"], indirect=True)
def test_the_page_fits_a_narrow_screen(browser: Browser, story: Explanation, url: str) -> None:
    assert story.plan
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **metrics)
    browser.open(f"{url}#4.3")
    wide = browser.run(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    columns = browser.run("document.querySelector('#bytes .digits').childElementCount")
    browser.ask("Emulation.clearDeviceMetricsOverride")
    assert (wide, columns) == (0, 8)
