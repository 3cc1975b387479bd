"""Results as tables: for people in 60 columns, or as Markdown for a page."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.text import Text

from lvsd import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table as RichTable

PAGE_COLUMNS: Final = 100
LONGEST_NAME: Final = 14
"""So much of a scheduler's name is shown on a line."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures, a row for each scheduler; what ``note`` says stands below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def show(found: Iterable[Table], out: Console) -> None:
    """Print tables; all fit 60 columns."""
    for table in found:
        out.print(Text(table.title, style="bold"))
        out.print(_rich(table))
        if table.note:
            out.print(Text(table.note, style="dim"))
        out.print()


def _rich(table: Table) -> RichTable:
    made = tables.plain()
    for number, column in enumerate(table.columns):
        if number:
            made.add_column(column, justify="right")
        else:
            made.add_column(column, overflow="fold", max_width=LONGEST_NAME)
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def markdown(table: Table) -> str:
    """Return a table as Markdown, its title above and its note below."""
    grid = tables.markdown(table.columns, table.rows, are_numbers=True)
    note = f"\n{_wrapped(table.note)}\n" if table.note else ""
    return f"{_wrapped(f'**{table.title}**')}\n\n{grid}{note}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, PAGE_COLUMNS, break_long_words=False, break_on_hyphens=False)
