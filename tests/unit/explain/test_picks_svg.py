"""The picture of a sequence of picks: read back as XML, and measured."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from lvsd.explain.model import Candidate, Choice
from lvsd.explain.output.canvas import BAND, INK
from lvsd.explain.output.picks_svg import DOT_COLOUR, svg
from lvsd.explain.picks import letters, picks
from schedulers import BUILT_IN

SVG = "{http://www.w3.org/2000/svg}"


def drawn(choices: tuple[Choice, ...], title: str = "a lesson") -> ET.Element:
    """Return the picture's root element."""
    return ET.fromstring(svg(choices, title))  # noqa: S314 - we made the XML ourselves


def texts(root: ET.Element) -> list[str]:
    """Return all texts that are drawn."""
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def rects(root: ET.Element, colour: str) -> list[tuple[float, float, float, float]]:
    """Return left, upper, right and lower edge of all rectangles of a colour."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("fill") == colour:
            x, y, width, height = (
                float(rect.get(name, "0")) for name in ("x", "y", "width", "height")
            )
            found.append((x, y, x + width, y + height))
    return found


def size(root: ET.Element) -> tuple[float, float]:
    """Return width and height of what can be seen."""
    left, top, width, height = map(float, root.get("viewBox", "").split())
    assert (left, top) == (0, 0)
    return width, height


def made_up(name: str, number: float | None, text: str = "is 1") -> Choice:
    """Return a choice with a single server, which was picked."""
    return Choice("x", "a rule", (Candidate(name, 1, 0, 0, number, text, picked=True),))


def test_a_pick_is_a_dot_with_its_number_and_the_others_are_numbers() -> None:
    root = drawn(picks("wlc", [3, 2], 3))
    assert len(rects(root, DOT_COLOUR)) == 3
    assert texts(root) == [
        "a lesson",
        "The least (256 * active + total) / weight; on a tie",
        "the newest.",
        *("pick", "1", "2", "3"),
        *("picked", "B", "A", "A"),
        *("A", "weight 3", "0", "0", "85.7"),
        *("B", "weight 2", "0", "128.5", "128.5"),
        "The least number is picked; – is not in the race.",  # noqa: RUF001 - as drawn
    ]


def test_a_dot_is_in_the_row_of_its_server_and_the_column_of_its_pick() -> None:
    root = drawn(picks("rr", [1, 1, 1], 3))
    dots = rects(root, DOT_COLOUR)
    lefts = [left for left, _, _, _ in dots]
    uppers = [upper for _, upper, _, _ in dots]
    assert lefts == sorted(lefts, reverse=True)  # row by row: A was the third pick
    assert uppers == sorted(uppers)
    assert len(set(lefts)) == len(set(uppers)) == 3


def test_a_pick_of_nobody_has_no_dot() -> None:
    root = drawn(picks("ovf", [1], 4))
    assert len(rects(root, DOT_COLOUR)) == 2


@pytest.mark.parametrize("scheduler", BUILT_IN)
@pytest.mark.parametrize(
    "weights", [[3, 2, 1], [8, 7, 6, 5, 4, 3, 2, 1], [65535, 65534, 1000, 7], [1], [0, 0]]
)
@pytest.mark.parametrize("count", [1, 24])
def test_nothing_overlaps_or_reaches_over_the_edge(
    scheduler: str, weights: list[int], count: int
) -> None:
    root = drawn(picks(scheduler, weights, count))
    width, height = size(root)
    dots = sorted(rects(root, DOT_COLOUR))
    assert all(one[2] <= other[0] for one, other in pairwise(dots))
    bands = [*dots, *rects(root, BAND)]
    assert min([0.0, *(left for left, _, _, _ in bands)]) == 0
    assert max(right for _, _, right, _ in bands) <= width
    places = [(text.get("x"), text.get("y")) for text in root.iter(f"{SVG}text")]
    assert len(set(places)) == len(places)
    assert max(float(y or 0) for _, y in places) < height


def test_a_long_number_makes_the_columns_wide_enough() -> None:
    root = drawn((made_up("A", 123456789012.0), made_up("A", 123456789013.0)))
    first, second = sorted(rects(root, DOT_COLOUR))
    assert first[2] < second[0]
    assert first[2] - first[0] > 12 * 6


def test_a_long_name_pushes_the_columns_to_the_right() -> None:
    (short_name,) = rects(drawn((made_up("A", 1.0),)), DOT_COLOUR)
    (long_name,) = rects(drawn((made_up("[2001:db8::1234]:65535", 1.0),)), DOT_COLOUR)
    assert long_name[0] - short_name[0] > 100


def test_a_title_of_many_words_is_wrapped() -> None:
    root = drawn(picks("rr", [1], 2), "word " * 30)
    assert len([text for text in texts(root) if text.startswith("word")]) > 3


def test_people_who_cannot_see_it_are_told() -> None:
    root = drawn(picks("ovf", [1, 0], 3), "When it is full")
    assert root.get("role") == "img"
    ids = {each.get("id"): each.text for each in root if each.get("id")}
    assert [ids[name] for name in root.get("aria-labelledby", "").split()] == [
        "When it is full",
        "Servers: A weight 1, B weight 0. Picked, in this order: A A nobody.",
    ]


def test_what_is_markup_in_a_title_or_a_name_is_text_in_the_picture() -> None:
    root = drawn(
        (made_up("<b>&", 1.0),), "a < b & \x00\x1b\"c\" </text><script>alert('x')</script>"
    )
    assert list(root.iter(f"{SVG}script")) == []
    assert "<b>&" in texts(root)
    assert root.findtext(f"{SVG}title") == "a < b & \"c\" </text><script>alert('x')</script>"


def test_it_needs_nothing_from_outside() -> None:
    text = svg(picks("wlc", [3, 2, 1], 12), "alone")
    assert text.count("http") == 1  # the name space
    assert [word for word in ("href", "url(", "@import", "<style", "<script") if word in text] == []


def test_nothing_to_show_is_a_picture_with_a_title() -> None:
    root = drawn((), "nothing")
    assert "nothing" in texts(root)
    assert rects(root, DOT_COLOUR) == []


def test_servers_after_z_have_two_letters_in_the_picture() -> None:
    bold = [
        text.text
        for text in drawn(picks("rr", [1] * 28, 1)).iter(f"{SVG}text")
        if text.get("fill") == INK and text.get("x") == "24"
    ]
    assert bold[1:] == [letters(place) for place in range(28)]
