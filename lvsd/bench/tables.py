"""Results as tables: for people in 60 columns, or as Markdown between a page's markers."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from lvsd.bench.folder import write
from lvsd.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

PAGE_COLUMNS: Final = 100
LONGEST_NAME: Final = 14
"""So much of a scheduler's name is shown on a line."""


@dataclass(frozen=True, slots=True)
class Table:
    """``name`` is that of its markers in a page; what ``note`` says stands below."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def show(tables: Iterable[Table], out: Console) -> None:
    """Print tables; all fit 60 columns."""
    for table in tables:
        out.print(Text(table.title, style="bold"))
        out.print(_rich(table))
        if table.note:
            out.print(Text(table.note, style="dim"))
        out.print()


def _rich(table: Table) -> RichTable:
    made = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(table.columns):
        if number:
            made.add_column(column, justify="right")
        else:
            made.add_column(column, overflow="fold", max_width=LONGEST_NAME)
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    lines = [
        _wrapped(f"**{table.title}**"),
        "",
        "| " + " | ".join(table.columns) + " |",
        "|---" + "|--:" * (len(table.columns) - 1) + "|",
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]
    if table.note:
        lines += ["", _wrapped(table.note)]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, PAGE_COLUMNS, break_long_words=False, break_on_hyphens=False)


def check_page(page: Path) -> None:
    """Raise UsageError, InputError or OutputError for a page that `write_page` cannot write to."""
    text = _read(page)
    if "<!-- bench:" not in text:
        raise UsageError(
            f"--markdown {page}: no markers in the page; a part's tables go between"
            " <!-- bench:speed --> and <!-- end -->, and the same for memory, quality, kernel"
        )
    try:
        with page.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise OutputError(page, error) from error


def write_page(page: Path, parts: dict[str, str]) -> list[str]:
    """Put the parts between ``<!-- bench:NAME -->`` and ``<!-- end -->``; return those left out.

    That are the ones that the page has no markers for; what is not in ``parts`` stays as it is.
    Raise OutputError.
    """
    text = _read(page)
    missing = []
    for name, body in parts.items():
        pattern = re.compile(rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            missing.append(name)
            continue
        text = f"{text[: found.start()]}{found[1]}{body}\n{found[2]}{text[found.end() :]}"
    write(page, text.encode())
    return missing


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(page, error) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--markdown {page}: no UTF-8 text: {error.reason}") from error
