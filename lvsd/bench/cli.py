"""The command ``lvsd bench``, with ``lvsd bench schedulers`` so far."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from errno import EBADF
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.bench.options import add_arguments, selection
from lvsd.errors import OutputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

    from lvsd.bench.schedulers import Results, Selection

PROG: Final = "lvsd bench"
STDOUT: Final = Path("standard output")

DESCRIPTION: Final = """\
Measure schedulers by themselves, without packets and without root: how fast they pick and what
they hold in memory, and how well they do in a simulation from seeds: fairness, imbalance,
disruption, recovery. docs/scheduler-benchmarks.md says what the figures mean. It takes half a
minute; less with fewer --scheduler, --servers or --seeds.
"""


def main(argv: list[str]) -> int:
    """Do what the words after ``bench`` say, return the exit status. Raise LvsdError."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.benchmark is None:
        parser.print_help()
        return os.EX_OK
    return _schedulers(options)


def _schedulers(options: argparse.Namespace) -> int:
    if not sys.stdout.writable():  # after a shell's >&-
        raise OutputError(STDOUT, OSError(EBADF, os.strerror(EBADF)))
    with redirect_stdout(sys.stderr):  # whatever a third party's scheduler prints
        asked = selection(options)

    from lvsd.bench.document import document  # noqa: PLC0415 - '--help' is quick
    from lvsd.bench.report import tables  # noqa: PLC0415 - same reason

    with redirect_stdout(sys.stderr):
        results = _run(asked)
    if options.json:
        sys.stdout.write(json.dumps(document(asked, results), indent=1) + "\n")
    else:
        from lvsd.terminal import console  # noqa: PLC0415 - same reason

        out = console()
        for table in chain.from_iterable(tables(asked, results).values()):
            table.show(out)
            out.print()
    return os.EX_OK


def _run(asked: Selection) -> Results:
    """Measure, with a bar on the terminal that stderr may be."""
    from lvsd.bench.schedulers import run  # noqa: PLC0415 - '--help' is quick

    if not sys.stderr.isatty():
        return run(asked, lambda _text: None)

    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - same reason

    from lvsd.terminal import console  # noqa: PLC0415 - same reason

    columns = BarColumn(bar_width=16), TextColumn("{task.description}")
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task("", total=asked.steps)
        return run(asked, _teller(progress, task))


def _teller(progress: Progress, task: TaskID) -> Callable[[str], None]:
    said = -1

    def say(text: str) -> None:
        nonlocal said
        said += 1
        progress.update(task, completed=said, description=text)

    return say


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Measure parts of lvsd.", allow_abbrev=False)
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", title="benchmarks")
    schedulers = benchmarks.add_parser(
        "schedulers",
        help="how fast, how fair and how steady schedulers are",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    add_arguments(schedulers)
    schedulers.add_argument("--json", action="store_true", help="JSON in place of tables")
    return parser
