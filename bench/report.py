"""Tables of results: for the terminal, and for docs/performance.md between its markers."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lvsd import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Table:
    """One section's results. ``name`` is that of its markers in the page."""

    name: str
    title: str
    command: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print the table."""
        table = tables.plain()
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(self.title, style="bold")
        console.print(table)

    def markdown(self) -> str:
        """Return the table as Markdown, with the command that made it."""
        head = f"`{self.command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}:"
        return f"{head}\n\n{tables.markdown(self.columns, self.rows, are_numbers=True)}"

    def write(self, page: Path = PAGE) -> None:
        """Put the table into the page, as `put` does."""
        put(page, self.name, self.markdown())


def put(page: Path, name: str, body: str) -> None:
    """Put a body into a page, between ``<!-- bench:NAME -->`` and ``<!-- end -->``.

    Raise ValueError if the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}{body}{match[2]}", text)
    if count != 1:
        raise ValueError(f"{page}: no markers for {name}")
    page.write_text(new, encoding="utf-8")


def machine() -> str:
    """Return what the figures were measured on: cores, kernel, Python."""
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().split("-")[0]
    return f"{cores} cores, Linux {kernel}, Python {platform.python_version()}"


def count(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,.0f}"
