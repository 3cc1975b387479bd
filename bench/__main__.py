"""``python -m bench``: measure, print tables, write docs/performance.md's figures.

``micro``, ``compare`` and ``scheduler-page`` are commands of their own.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Section

SECTIONS = ("packet", "core", "memory", "end-to-end", "modes")
"""Each is the module of that name, with a function ``tables() -> list[Section]``."""

COMMANDS = ("micro", "compare", "scheduler-page")
"""Each is the module of that name, with a function ``main`` that takes the words behind it."""

DESCRIPTION = """\
Measure, print tables, and write them to docs/performance.md. 'python -m bench micro', 'compare'
and 'scheduler-page' are commands of their own; see their --help.
"""


def main(argv: Sequence[str]) -> int | None:
    """Run a command, or the sections that the command line names, or all of them."""
    if argv and argv[0] in COMMANDS:
        module = import_module(f"bench.{argv[0].replace('-', '_')}")
        status: int | None = module.main(argv[1:])
        return status
    _sections(argv)
    return None


def _sections(argv: Sequence[str]) -> None:
    from lvsd.arguments import Parser  # noqa: PLC0415 - micro's workers need no revision's
    from lvsd.terminal import console  # noqa: PLC0415 - same reason

    parser = Parser(prog="python -m bench", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("section", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--dry-run", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.section) - set(SECTIONS)):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if not options.dry_run:
        _check_page()
    out = console()
    for section in options.section or SECTIONS:
        with out.status(f"measuring: {section}"):
            tables: list[Section] = import_module(f"bench.{section.replace('-', '_')}").tables()
        for table in tables:
            table.show(out)
            if not options.dry_run:
                table.write()


def _check_page() -> None:
    """Raise OutputError for a page that could not be written after all has been measured."""
    from bench.report import PAGE  # noqa: PLC0415 - micro's workers need it not
    from lvsd.errors import OutputError  # noqa: PLC0415 - not every revision need have it

    try:
        with PAGE.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise OutputError(PAGE, error) from error


def run(argv: Sequence[str]) -> int | None:
    """Run a command line; return its exit status."""
    try:
        status = main(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python flushes again
        return 128 + signal.SIGPIPE
    except CalledProcessError as error:
        words = [error.cmd] if isinstance(error.cmd, str) else map(str, error.cmd)
        sys.stderr.write(f"bench: failed with status {error.returncode}: {' '.join(words)}\n")
        return os.EX_SOFTWARE
    except Exception as error:
        known = getattr(error, "exit_status", None)  # LvsdError's, of whichever revision
        if known is None:
            raise
        sys.stderr.write(f"bench: {error}\n")
        return int(known)
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
