"""``python -m bench``: measure, print tables, write docs/performance.md's figures.

``python -m bench micro`` and ``python -m bench compare`` are commands of their own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Table

SECTIONS = ("packet", "core", "schedulers", "memory", "end-to-end", "modes")
"""Each is the module of that name, with a function ``tables() -> list[Table]``."""

COMMANDS = ("micro", "compare")
"""Each is the module of that name, with a function ``main`` that takes the words behind it."""


def main(argv: Sequence[str]) -> int | None:
    """Run a command, or the sections that the command line names, or all of them."""
    if argv and argv[0] in COMMANDS:
        status: int | None = import_module(f"bench.{argv[0]}").main(argv[1:])
        return status
    _sections(argv)
    return None


def _sections(argv: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - micro's workers need it not

    from lvsd.arguments import Parser  # noqa: PLC0415 - likewise, and no other revision's

    parser = Parser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("section", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--dry-run", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.section) - set(SECTIONS)):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    console = Console()
    for section in options.section or SECTIONS:
        with console.status(f"measuring: {section}"):
            tables: list[Table] = import_module(f"bench.{section.replace('-', '_')}").tables()
        for table in tables:
            table.show(console)
            if not options.dry_run:
                table.write()


def run() -> int | None:
    """Run the command line; return its exit status."""
    try:
        return main(sys.argv[1:])
    except Exception as error:
        status = getattr(error, "exit_status", None)  # LvsdError's, of whichever revision
        if status is None:
            raise
        sys.stderr.write(f"bench: {error}\n")
        return int(status)


if __name__ == "__main__":
    sys.exit(run())
