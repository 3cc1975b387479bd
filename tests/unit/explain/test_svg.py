"""Pictures of explanations: well formed, complete, readable, and of nothing from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from xml.etree import ElementTree as ET

import pytest

from lvsd.explain.output.canvas import BAND, Box, width_of
from lvsd.explain.output.legs import by_plan, drawn
from lvsd.explain.output.svg import svg
from tests.unit.explain.cases import every_case, told

SVG = "{http://www.w3.org/2000/svg}"
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


@cache
def picture_of(case: str) -> str:
    return svg(told(case))


def root_of(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - we made the XML ourselves


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in root_of(picture).iter(f"{SVG}text")]


def box_of(element: ET.Element) -> Box:
    return Box(*(float(element.attrib[name]) for name in ("x", "y", "width", "height")))


def room_of(element: ET.Element) -> Box:
    """Return the box that a text may take."""
    size, x = float(element.attrib["font-size"]), float(element.attrib["x"])
    family = "mono" if element.get("font-family") == "monospace" else "sans"
    bold = element.get("font-weight") == "bold"
    width = width_of(element.text or "", size, "mono" if family == "mono" else "sans", bold=bold)
    shift = {"middle": width / 2, "end": width}.get(element.get("text-anchor", ""), 0)
    return Box(x - shift, float(element.attrib["y"]) - size, width, size)


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.right
        and other.x < one.right
        and one.y < other.bottom
        and other.y < one.bottom
    )


def boxes_with(picture: str, **attributes: str) -> list[Box]:
    return [
        box_of(element)
        for element in root_of(picture).iter(f"{SVG}rect")
        if attributes.items() <= element.attrib.items()
    ]


@every_case
def test_everything_that_the_plan_made_of_the_packets_is_in_the_picture(case: str) -> None:
    explanation = told(case)
    picture = " ".join(texts(picture_of(case)))
    wanted = {"source", "destination", "source port", "destination port", "sequence number"}
    values = {
        change.after
        for _, journey in drawn(explanation)
        for hop in journey.hops
        for change in by_plan(hop)
        if change.after and (change.field in wanted or change.field.startswith("option "))
    }
    assert {value for value in values if value not in picture} == set()


@every_case
def test_the_plan_stands_below_the_picture_step_by_step(case: str) -> None:
    explanation = told(case)
    picture = " ".join(texts(picture_of(case)))
    plan = explanation.plan
    steps = [*plan.request, *(plan.reply or ())] if plan else []
    assert [str(step) for step in steps if str(step) not in picture] == []
    assert picture.count("none: no connection came about") == (0 if plan else 2)


@every_case
def test_the_hosts_on_the_way_have_their_addresses_and_the_picked_server_its_reason(
    case: str,
) -> None:
    explanation = told(case)
    picture = " ".join(texts(picture_of(case)))
    met = {hop.host for _, one in drawn(explanation) for hop in one.hops} | {"director"}
    addresses = [
        text
        for host in explanation.hosts
        if host.name in met
        for _, *both in host.interfaces
        for text in both
    ]
    assert [text for text in addresses if text not in picture] == []
    assert explanation.choice is not None
    picked = [one for one in explanation.choice.candidates if one.picked]
    assert [one.server for one in picked if one.server not in picture] == []


@every_case
def test_nothing_overlaps_and_nothing_is_cut_off(case: str) -> None:
    picture = picture_of(case)
    _, _, width, height = map(float, root_of(picture).attrib["viewBox"].split())
    assert width / height == pytest.approx(16 / 9, rel=0.002)
    cards = boxes_with(picture, rx="4")
    hosts = boxes_with(picture, fill=BAND)
    assert cards
    assert len(hosts) >= 2
    solid = [*cards, *hosts]
    assert [pair for pair in combinations(solid, 2) if overlap(*pair)] == []
    rooms = [room_of(each) for each in root_of(picture).iter(f"{SVG}text")]
    cut = [room for room in rooms if room.x < 0 or room.right > width or room.bottom > height]
    assert cut == []
    # A text is within a box or a card, or outside of all of them.
    across = [
        (room, box)
        for room, box in product(rooms, solid)
        if overlap(room, box) and (room.x < box.x or room.right > box.right)
    ]
    assert across == []


@every_case
def test_a_picture_needs_nothing_from_outside(case: str) -> None:
    picture = picture_of(case).replace(NAMESPACE, "", 1)
    assert re.findall(r"https?:|//|url\(|@?import|src=|href|<script|<style|\son\w+=", picture) == []


def test_request_and_reply_differ_in_more_than_colour() -> None:
    picture = svg(told("nat-tcp-False"))
    root = root_of(picture)
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("fill") == "none"]
    dashed = {path.get("stroke"): path.get("stroke-dasharray") for path in arrows}
    assert sorted(dashed.values(), key=str) == ["9 5", None]


def test_what_the_plan_changed_has_the_steps_name() -> None:
    found = texts(svg(told("fullnat-toa-tcp-False")))
    tags = {"set source", "set destination", "renumber", "insert TOA"}
    assert tags <= set(found)
    assert "TOA" in found
    assert "encapsulate" in texts(svg(told("tun-gre-tcp-True")))


def test_title_and_description_tell_the_ways_to_those_who_do_not_see() -> None:
    root = root_of(svg(told("dr-tcp-False")))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "DR: a TCP connection to 198.51.100.10:80"
    assert description is not None
    ways = description.text or ""
    assert "Packet 4, HTTP request, goes by client, director, server3." in ways
    assert "Packet 5, HTTP reply, goes by server3, router, client." in ways


def test_texts_are_escaped() -> None:
    hostile = "</text><script>alert('&')</script>\x00\x1b"
    explanation = told("nat-tcp-False")
    journeys = tuple(
        replace(journey, title=hostile, outcome=hostile) for journey in explanation.journeys
    )
    picture = svg(replace(explanation, journeys=journeys, virtual=hostile))
    root = root_of(picture)
    assert [each.tag for each in root.iter() if "script" in each.tag] == []
    assert hostile[:-2] in texts(picture)
