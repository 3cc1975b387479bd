"""``python -m bench [SECTION ...]``: measure, print tables, write docs/performance.md's figures."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from bench.report import Table

SECTIONS = ("core", "schedulers", "memory", "end-to-end", "modes")
"""Each is the module of that name, with a function ``tables() -> list[Table]``."""


def main() -> None:
    """Run the sections that the command line names, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure lvsd.")
    parser.add_argument("section", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--dry-run", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args()
    if unknown := set(options.section) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {SECTIONS}")
    console = Console()
    for section in options.section or SECTIONS:
        with console.status(f"measuring: {section}"):
            tables: list[Table] = import_module(f"bench.{section.replace('-', '_')}").tables()
        for table in tables:
            table.show(console)
            if not options.dry_run:
                table.write()


if __name__ == "__main__":
    main()
