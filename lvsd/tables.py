"""Tables of text: for the terminal, in one look for all commands, and as Markdown for pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def plain() -> Table:
    """Return an empty table for the terminal: a line below the headings, and little space."""
    return Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def markdown(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, are_numbers: bool = False
) -> str:
    """Return a table as Markdown; ``are_numbers`` aligns all columns but the first to the right."""
    other = "--:" if are_numbers else "---"
    below = "|".join(["---", *[other] * (len(columns) - 1)])
    return f"{_line(columns)}|{below}|\n{''.join(map(_line, rows))}"


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |\n"
