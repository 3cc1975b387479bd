"""Tables of text: for the terminal, in one look for all commands, and as Markdown for pages."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

PAGE_COLUMNS: Final = 100


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under headings; each row begins with a name.

    ``note`` stands below. A name longer than ``name_width`` takes several lines of a terminal.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    name_width: int | None = None

    def show(self, out: Console) -> None:
        """Print the table."""
        made = plain()
        for number, column in enumerate(self.columns):
            if number:
                made.add_column(column, justify="right")
            else:
                made.add_column(column, overflow="fold", max_width=self.name_width)
        for row in self.rows:
            made.add_row(*map(Text, row))
        out.print(Text(self.title, style="bold"))
        out.print(made)
        if self.note:
            out.print(Text(self.note, style="dim"))

    def grid(self) -> str:
        """Return headings and rows as Markdown."""
        return markdown(self.columns, self.rows, are_numbers=True)

    def markdown(self) -> str:
        """Return all of it as Markdown."""
        note = f"\n{_wrapped(self.note)}\n" if self.note else ""
        return f"{_wrapped(f'**{self.title}**')}\n\n{self.grid()}{note}"


def plain() -> RichTable:
    """Return an empty table for the terminal: a line below the headings, and little space."""
    return RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


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


def _wrapped(text: str) -> str:
    return textwrap.fill(text, PAGE_COLUMNS, break_long_words=False, break_on_hyphens=False)
