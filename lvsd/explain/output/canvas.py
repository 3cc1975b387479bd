"""Shapes and texts of an SVG document, for pictures that need nothing from outside.

Texts are escaped here, and only here. Widths are upper bounds: nobody knows which font a reader
has for "sans-serif".
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INK: Final = "#1a1a1a"
GREY: Final = "#5a5a5a"
FAINT: Final = "#8a8a8a"
LINE: Final = "#c4c8ce"
BAND: Final = "#f3f5f8"
WHITE: Final = "#ffffff"

COLOURS: Final = {"request": "#0b5cad", "reply": "#a8480c"}
TINTS: Final = {"request": "#e6f0fa", "reply": "#fbeee3"}
"""A direction's colour, and the ground of what is marked in it."""

SANS: Final = "Helvetica, Arial, sans-serif"

Family: TypeAlias = Literal["sans", "mono"]
Anchor: TypeAlias = Literal["start", "middle", "end"]

_WIDTHS: Final = {("sans", False): 0.57, ("sans", True): 0.66, ("mono", False): 0.61}
"""A character's width per font size; a fixed one is as wide in bold."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The x of the vertical axis."""
        return self.x + self.width / 2

    @property
    def attributes(self) -> dict[str, str | float]:
        """What a rectangle's element says of it."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}


def width_of(text: str, size: float, family: Family = "sans", *, bold: bool = False) -> float:
    """Return how wide a text may get."""
    return len(text) * size * _WIDTHS[family, bold and family == "sans"]


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Return the lines of a sans-serif text that has this much room."""
    return wrap(text, max(8, int(width / width_of("n", size)))) or []


@dataclass(slots=True)
class Canvas:
    """Collects a document's elements, in the order in which they are painted."""

    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, content: str = "", /, **attributes: str | float) -> None:
        """Add an element with a text in it; attributes are written as `_attributes` has them."""
        end = f">{clean(content)}</{tag}>" if content else "/>"
        self.parts.append(f"<{tag}{_attributes(attributes)}{end}")

    @contextmanager
    def group(self, **attributes: str | float) -> Iterator[None]:
        """Put what is added inside the block into a group."""
        self.parts.append(f"<g{_attributes(attributes)}>")
        yield
        self.parts.append("</g>")

    def rect(
        self, box: Box, *, fill: str = WHITE, stroke: str = "", radius: float = 6, wide: float = 1
    ) -> None:
        """Paint a rectangle."""
        edge: dict[str, str | float] = {"stroke": stroke, "stroke_width": wide} if stroke else {}
        self.add("rect", **box.attributes, rx=radius, fill=fill, **edge)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: str = INK,
        family: Family = "sans",
        bold: bool = False,
        anchor: Anchor = "start",
    ) -> None:
        """Write a line of text; ``y`` is its baseline."""
        style: dict[str, str | float] = {}
        if family == "mono":
            style["font_family"] = "monospace"
        if bold:
            style["font_weight"] = "bold"
        if anchor != "start":
            style["text_anchor"] = anchor
        self.add("text", text or " ", x=x, y=y, font_size=size, fill=colour, **style)

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], colour: str, *, dashed: bool
    ) -> None:
        """Paint an arrow, level or upright."""
        (x, y), (to_x, to_y) = start, end
        along = (_sign(to_x - x), _sign(to_y - y))
        neck = (to_x - 12 * along[0], to_y - 12 * along[1])
        wings = [(neck[0] + 6 * side * along[1], neck[1] + 6 * side * along[0]) for side in (1, -1)]
        shaft: dict[str, str | float] = {"stroke": colour, "stroke_width": 3}
        if dashed:
            shaft["stroke_dasharray"] = "9 5"
        self.add("path", d=f"M{x:g} {y:g}L{neck[0]:g} {neck[1]:g}", fill="none", **shaft)
        head = (
            f"M{to_x:g} {to_y:g}L{wings[0][0]:g} {wings[0][1]:g}L{wings[1][0]:g} {wings[1][1]:g}Z"
        )
        self.add("path", d=head, fill=colour)

    def badge(self, x: float, y: float, number: int, colour: str) -> None:
        """Paint a number in a disc."""
        self.add("circle", cx=x, cy=y, r=11, fill=WHITE, stroke=colour, stroke_width=2)
        self.text(x, y + 4.5, str(number), 13, colour=colour, bold=True, anchor="middle")

    def document(self, width: float, height: float, title: str, description: str) -> str:
        """Return the whole as an SVG document on a white ground; it needs nothing else."""
        inside = "\n".join(self.parts)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" \
width="{width:g}" height="{height:g}" role="img" aria-labelledby="title desc" \
font-family="{SANS}">
<title id="title">{clean(title)}</title>
<desc id="desc">{clean(description)}</desc>
<rect width="{width:g}" height="{height:g}" fill="{WHITE}"/>
{inside}
</svg>
"""


def _attributes(attributes: Mapping[str, str | float]) -> str:
    """Return attributes, ``stroke_width`` as stroke-width and ``class_`` as class."""
    return "".join(
        f" {name.rstrip('_').replace('_', '-')}="
        f'"{clean(value) if isinstance(value, str) else format(value, "g")}"'
        for name, value in attributes.items()
    )


def clean(text: str) -> str:
    """Return a text fit for XML and HTML: escaped, without what XML has no place for."""
    return escape("".join(each for each in text if each.isprintable()))


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
