"""Tables of results: for the terminal, and for docs/performance.md between its markers."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lvsd.tables import Table

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section(Table):
    """One section's results. ``name`` is that of its markers in the page."""

    name: str
    command: str

    def write(self, page: Path = PAGE) -> None:
        """Put the table into the page, as `put` does, under the command that made it."""
        head = f"`{self.command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}:"
        put(page, self.name, f"{head}\n\n{self.grid()}")


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
