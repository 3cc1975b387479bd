"""A sequence of picks as a picture for slides: a row per server, a column per pick.

A filled dot is the server that was picked, with its number; the others' numbers stand in grey,
and a dash for who was not in the race. The picture needs nothing from outside: system fonts,
a white ground of its own, no script, no link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.explain.output.canvas import (
    BAND,
    COLOURS,
    FAINT,
    GREY,
    INK,
    WHITE,
    Anchor,
    Box,
    Canvas,
    width_of,
    wrapped,
)
from lvsd.explain.picks import NOBODY, cells, lineup, winner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lvsd.explain.model import Choice

MARGIN = 24
ROW = 44
CELL_AT_LEAST = 44
WIDTH_AT_LEAST = 480
DOT = 38
"""A dot's diameter; one with a longer number is drawn out to the side."""

TITLE_SIZE, RULE_SIZE, NAME_SIZE, NUMBER_SIZE = 22, 14, 17, 12
LINE = 1.4
"""A line's height, per font size."""
DOT_COLOUR = COLOURS["request"]
DASH = "\N{EN DASH}"
LEGEND = f"The least number is picked; {DASH} is not in the race."


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where things are, in pixels: the left edges of weights and first column, the top row's."""

    weights: float
    left: float
    top: float
    cell: float
    rows: int
    columns: int

    @property
    def right(self) -> float:
        """The last column's right edge."""
        return self.left + self.cell * self.columns

    @property
    def bottom(self) -> float:
        """The last row's lower edge."""
        return self.top + ROW * self.rows

    def x(self, column: int) -> float:
        """Return the middle of a column."""
        return self.left + self.cell * (column + 0.5)

    def y(self, row: int) -> float:
        """Return the middle of a row; -1 is the heading, ``rows`` the line below the last one."""
        return self.top + ROW * (row + 0.5)


def svg(choices: Sequence[Choice], title: str) -> str:
    """Return the picture as an SVG document."""
    table = [cells(choice) for choice in choices]
    weights = lineup(choices)
    after_names = MARGIN + _widest(weights, NAME_SIZE, bold=True) + 10
    left = after_names + _widest(map(_weight, weights.values()), NUMBER_SIZE) + 16
    numbers = _widest((text for row in table for text in row.values()), NUMBER_SIZE, bold=True)
    cell = max(CELL_AT_LEAST, numbers + 20, _widest(weights, NUMBER_SIZE, bold=True) + 8)
    width = max(WIDTH_AT_LEAST, left + cell * len(choices) + MARGIN)

    canvas, y = Canvas(), MARGIN
    rule = choices[0].rule if choices else ""
    for text, size, colour in ((title, TITLE_SIZE, INK), (rule, RULE_SIZE, GREY)):
        for line in wrapped(text, width - 2 * MARGIN, size):
            canvas.text(MARGIN, y + size, line, size, colour=colour, bold=size == TITLE_SIZE)
            y += round(size * LINE)
    grid = _Grid(after_names, left, y + ROW, cell, len(weights), len(choices))
    _paint_frame(canvas, grid, [winner(choice) for choice in choices])
    _paint_rows(canvas, grid, choices, table, weights)
    _text(canvas, MARGIN, grid.y(grid.rows + 1) - 8, LEGEND)
    return canvas.document(width, grid.bottom + 2 * ROW, title, _description(choices, weights))


def _description(choices: Sequence[Choice], weights: dict[str, int]) -> str:
    """Return what there is to see, for those who do not."""
    farm = ", ".join(f"{name} weight {weight}" for name, weight in weights.items())
    sequence = " ".join("nobody" if winner(each) == NOBODY else winner(each) for each in choices)
    return f"Servers: {farm}. Picked, in this order: {sequence}."


def _paint_frame(canvas: Canvas, grid: _Grid, winners: Sequence[str]) -> None:
    """Paint bands behind every other row, the heading, and the names picked below."""
    band = grid.right - MARGIN + 16
    for row in range(0, grid.rows, 2):
        canvas.rect(Box(MARGIN - 8, grid.top + ROW * row, band, ROW), fill=BAND, radius=4)
    _text(canvas, MARGIN, grid.y(-1), "pick")
    for column in range(grid.columns):
        _text(canvas, grid.x(column), grid.y(-1), str(column + 1), anchor="middle")
    canvas.add("path", d=f"M{MARGIN - 8} {grid.bottom:g}H{grid.right + 8:g}", stroke=FAINT)
    _text(canvas, MARGIN, grid.y(grid.rows), "picked")
    for column, name in enumerate(winners):
        said = DASH if name == NOBODY else name
        x, y = grid.x(column), grid.y(grid.rows)
        _text(canvas, x, y, said, colour=INK, bold=True, anchor="middle")


def _paint_rows(
    canvas: Canvas,
    grid: _Grid,
    choices: Sequence[Choice],
    table: Sequence[dict[str, str]],
    weights: dict[str, int],
) -> None:
    """Paint each server's name and weight, then its dots and numbers."""
    for row, (name, weight) in enumerate(weights.items()):
        y = grid.y(row)
        _text(canvas, MARGIN, y, name, size=NAME_SIZE, colour=INK, bold=True)
        _text(canvas, grid.weights, y, _weight(weight))
        for column, (choice, numbers) in enumerate(zip(choices, table, strict=True)):
            number = numbers.get(name, NOBODY)
            _paint_cell(canvas, grid.x(column), y, number, dot=winner(choice) == name)


def _paint_cell(canvas: Canvas, x: float, y: float, number: str, *, dot: bool) -> None:
    """Paint a dot with its number, or the number alone."""
    if not dot:
        colour, said = (FAINT, DASH) if number == NOBODY else (GREY, number)
        _text(canvas, x, y, said, colour=colour, anchor="middle")
        return
    width = max(DOT, width_of(number, NUMBER_SIZE, bold=True) + 8)
    canvas.rect(Box(x - width / 2, y - DOT / 2, width, DOT), fill=DOT_COLOUR, radius=DOT / 2)
    if number != NOBODY:
        _text(canvas, x, y, number, colour=WHITE, bold=True, anchor="middle")


def _text(
    canvas: Canvas,
    x: float,
    y: float,
    text: str,
    *,
    size: float = NUMBER_SIZE,
    colour: str = GREY,
    bold: bool = False,
    anchor: Anchor = "start",
) -> None:
    """Write a text whose middle is at ``y``: not all programs know dominant-baseline."""
    canvas.text(x, y + size * 0.35, text, size, colour=colour, bold=bold, anchor=anchor)


def _widest(texts: Iterable[str], size: float, *, bold: bool = False) -> float:
    """Return how wide the widest text may get."""
    return max((width_of(text, size, bold=bold) for text in texts), default=0)


def _weight(weight: int) -> str:
    return f"weight {weight}"
