"""The cards of a picture: what a frame is on one leg of its way, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lvsd.explain.output.canvas import COLOURS, GREY, INK, LINE, TINTS, Box, Canvas, width_of

if TYPE_CHECKING:
    from lvsd.explain.output.legs import Leg, Line

GAP = 18
"""Between a row and the next, a box and its neighbour."""

ARROW_ROOM = 22
"""From the top of a row, in whose middle the arrow is, to its card."""

PAD, LINE_HEIGHT, SIZE, TAG_SIZE = 8, 19, 13, 12

TAG_BESIDE_UP_TO = 42
"""With more characters than these, a line's value and its tag stand below each other."""


class Card(NamedTuple):
    """A leg's card: its size, and where its values begin."""

    leg: Leg
    width: float
    height: float
    indent: float

    @property
    def room(self) -> float:
        """The height of its row, with the arrow."""
        return ARROW_ROOM + self.height


@dataclass(slots=True)
class Rows:
    """The cards between two hosts, below each other."""

    cards: list[Card]

    @property
    def width(self) -> float:
        """How wide the widest one is."""
        return max((card.width for card in self.cards), default=0)

    @property
    def height(self) -> float:
        """How high they are below their arrows."""
        return sum(card.room + GAP for card in self.cards)

    @property
    def beside(self) -> float:
        """How high they are beside their arrows."""
        return sum(card.height + GAP for card in self.cards)


def card_of(leg: Leg) -> Card:
    """Measure a card."""
    labels = max((width_of(line.label, TAG_SIZE, bold=True) for line in leg.lines), default=0)
    indent = 14 + labels + 8
    widths = [indent + width_of(line.value, SIZE, "mono") for line in leg.lines]
    for place, line in enumerate(leg.lines):
        if line.tag and not _tag_below(line):
            widths[place] += 14 + width_of(line.tag, TAG_SIZE, bold=True)
    rows = sum(2 if _tag_below(line) else 1 for line in leg.lines)
    return Card(leg, max(widths, default=14) + 10, rows * LINE_HEIGHT + 2 * PAD, indent)


def _tag_below(line: Line) -> bool:
    """Return whether a line's tag stands below it, as there is no room beside it."""
    return bool(line.tag) and len(line.value) + len(line.tag) > TAG_BESIDE_UP_TO


def paint(canvas: Canvas, card: Card, x: float, y: float) -> None:
    """Paint a card: a stripe in its direction's colour, then line by line."""
    way = card.leg.direction
    box = Box(x, y, card.width, card.height)
    canvas.rect(box, stroke=LINE, radius=4)
    canvas.rect(Box(x, y, 5, card.height), fill=COLOURS[way], radius=2)
    y += PAD
    marked = False
    for line in card.leg.lines:
        marked = bool(line.tag) or (line.goes_on and marked)
        rows = 2 if _tag_below(line) else 1
        if marked:
            ground = Box(x + 7, y, card.width - 9, LINE_HEIGHT * rows)
            canvas.rect(ground, fill=TINTS[way], radius=2)
        y += LINE_HEIGHT
        colour = COLOURS[way] if marked else INK
        canvas.text(x + 14, y - 5, line.label, TAG_SIZE, colour=GREY)
        canvas.text(
            x + card.indent, y - 5, line.value, SIZE, colour=colour, family="mono", bold=marked
        )
        if line.tag:
            y += LINE_HEIGHT * (rows - 1)
            canvas.text(
                box.right - 8, y - 5, line.tag, TAG_SIZE, colour=colour, bold=True, anchor="end"
            )
