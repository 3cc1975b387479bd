"""A sequence of picks as a picture for slides: a row per server, a column per pick.

A filled dot is the server that was picked, with its number; the others' numbers stand in grey,
and a dash for who was not in the race. The picture needs nothing from outside: system fonts,
a white ground of its own, no script, no link.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from lvsd.explain.output.canvas import (
    BAND,
    COLOURS,
    FAINT,
    GREY,
    INK,
    WHITE,
    clean,
    document,
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
WIDTH_PER_SIZE = 0.6
"""An upper bound of a sans-serif text's width, per character and font size."""
PROSE_PER_SIZE = 0.54
"""The same of a whole line of words, whose narrow letters make up for the wide ones."""

DOT_COLOUR = COLOURS["request"]
DASH = "\N{EN DASH}"
LEGEND = f"The least number is picked; {DASH} is not in the race."


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where things are, in pixels: the left edges of weights and first column, the top row's."""

    weights: int
    left: int
    top: int
    cell: int
    rows: int
    columns: int

    @property
    def right(self) -> int:
        """The last column's right edge."""
        return self.left + self.cell * self.columns

    @property
    def bottom(self) -> int:
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
    after_names = MARGIN + _widest(weights, NAME_SIZE) + 10
    left = after_names + _widest([_weight(each) for each in weights.values()], NUMBER_SIZE) + 16
    numbers = _widest([text for row in table for text in row.values()], NUMBER_SIZE)
    cell = max(CELL_AT_LEAST, numbers + 16, _widest(weights, NUMBER_SIZE) + 8)
    width = max(WIDTH_AT_LEAST, left + cell * len(choices) + MARGIN)
    heads = _wrapped(title, TITLE_SIZE, width)
    rule = _wrapped(choices[0].rule if choices else "", RULE_SIZE, width)
    rule_top = MARGIN + round(TITLE_SIZE * 1.3) * len(heads)
    top = rule_top + round(RULE_SIZE * 1.5) * len(rule) + ROW
    grid = _Grid(after_names, left, top, cell, len(weights), len(choices))
    body = [
        *_lines(heads, MARGIN, TITLE_SIZE, 1.3, f'fill="{INK}" font-weight="bold"'),
        *_lines(rule, rule_top, RULE_SIZE, 1.5, f'fill="{GREY}"'),
        *_frame(grid, [winner(choice) for choice in choices]),
        *_rows(grid, choices, table, weights),
        _text(
            MARGIN, grid.y(grid.rows + 1) - 8, LEGEND, f'font-size="{NUMBER_SIZE}" fill="{GREY}"'
        ),
    ]
    about = _description(choices, weights)
    return document(body, width, grid.bottom + 2 * ROW, title, about)


def _description(choices: Sequence[Choice], weights: dict[str, int]) -> str:
    """Return what there is to see, for those who do not."""
    farm = ", ".join(f"{name} weight {weight}" for name, weight in weights.items())
    sequence = " ".join("nobody" if winner(each) == NOBODY else winner(each) for each in choices)
    return f"Servers: {farm}. Picked, in this order: {sequence}."


def _frame(grid: _Grid, winners: Sequence[str]) -> list[str]:
    """Return bands behind every other row, the heading, and the names picked below."""
    small = f'font-size="{NUMBER_SIZE}" fill="{GREY}"'
    last = grid.rows
    return [
        *(
            f'<rect x="{MARGIN - 8}" y="{grid.top + ROW * row}" '
            f'width="{grid.right - MARGIN + 16}" height="{ROW}" rx="4" fill="{BAND}"/>'
            for row in range(0, grid.rows, 2)
        ),
        _text(MARGIN, grid.y(-1), "pick", small),
        *(
            _text(grid.x(column), grid.y(-1), str(column + 1), f'{small} text-anchor="middle"')
            for column in range(grid.columns)
        ),
        f'<path d="M{MARGIN - 8} {grid.bottom}H{grid.right + 8}" stroke="{FAINT}"/>',
        _text(MARGIN, grid.y(last), "picked", small),
        *(
            _text(
                grid.x(column),
                grid.y(last),
                DASH if name == NOBODY else name,
                f'font-size="{NUMBER_SIZE}" fill="{INK}" font-weight="bold" text-anchor="middle"',
            )
            for column, name in enumerate(winners)
        ),
    ]


def _rows(
    grid: _Grid,
    choices: Sequence[Choice],
    table: Sequence[dict[str, str]],
    weights: dict[str, int],
) -> list[str]:
    """Return each server's name and weight, then its dots and numbers."""
    parts = []
    for row, (name, weight) in enumerate(weights.items()):
        y = grid.y(row)
        style = f'font-size="{NAME_SIZE}" fill="{INK}" font-weight="bold"'
        parts.append(_text(MARGIN, y, name, style, size=NAME_SIZE))
        style = f'font-size="{NUMBER_SIZE}" fill="{GREY}"'
        parts.append(_text(grid.weights, y, _weight(weight), style))
        for column, (choice, numbers) in enumerate(zip(choices, table, strict=True)):
            number = numbers.get(name, NOBODY)
            parts += _cell(grid.x(column), y, number, dot=winner(choice) == name)
    return parts


def _cell(x: float, y: float, number: str, *, dot: bool) -> list[str]:
    """Return a dot with its number, or the number alone."""
    style = f'font-size="{NUMBER_SIZE}" text-anchor="middle"'
    if not dot:
        colour = FAINT if number == NOBODY else GREY
        return [_text(x, y, DASH if number == NOBODY else number, f'{style} fill="{colour}"')]
    width = max(DOT, _width(number, NUMBER_SIZE) + 4)
    shape = (
        f'<rect x="{x - width / 2:g}" y="{y - DOT / 2:g}" width="{width}" height="{DOT}" '
        f'rx="{DOT / 2:g}" fill="{DOT_COLOUR}"/>'
    )
    if number == NOBODY:
        return [shape]
    return [shape, _text(x, y, number, f'{style} fill="{WHITE}" font-weight="bold"')]


def _text(x: float, y: float, text: str, attributes: str, *, size: int = NUMBER_SIZE) -> str:
    """Return a line of text whose middle is at ``y``: not all programs know dominant-baseline."""
    return f'<text x="{x:g}" y="{y + size * 0.35:g}" {attributes}>{clean(text)}</text>'


def _lines(texts: Sequence[str], top: int, size: int, spacing: float, style: str) -> list[str]:
    """Return lines of text below each other."""
    return [
        f'<text x="{MARGIN}" y="{top + size + round(size * spacing) * place}" '
        f'font-size="{size}" {style}>{clean(text)}</text>'
        for place, text in enumerate(texts)
    ]


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Return the lines of a text that has to fit between the margins."""
    return wrap(text, int((width - 2 * MARGIN) / (size * PROSE_PER_SIZE)))


def _width(text: str, size: int) -> int:
    """Return how wide a text may get."""
    return round(sum(0.3 if each in ".,: " else WIDTH_PER_SIZE for each in text) * size)


def _widest(texts: Iterable[str], size: int) -> int:
    """Return how wide the widest text may get."""
    return max((_width(text, size) for text in texts), default=0)


def _weight(weight: int) -> str:
    return f"weight {weight}"
