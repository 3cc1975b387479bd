"""``python -m bench scheduler-page``: the figures and the pictures of docs/scheduler-benchmarks.md.

It takes the options of ``lvsd bench schedulers`` and measures the same. Parts that ``--measure``
leaves out stay as they are in the page.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Final

from bench.harness import ROOT
from bench.report import machine, put
from lvsd.arguments import Parser
from lvsd.bench.options import add_arguments, selection
from lvsd.bench.report import tables
from lvsd.bench.schedulers import run

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND: Final = "python -m bench scheduler-page"
PAGE: Final = ROOT / "docs" / "scheduler-benchmarks.md"
PICTURES: Final = ROOT / "docs" / "pictures" / "bench"


def main(argv: Sequence[str]) -> None:
    """Measure, and write page and pictures. Raise LvsdError."""
    parser = Parser(prog=COMMAND, description=__doc__, allow_abbrev=False)
    add_arguments(parser)
    asked = selection(parser.parse_args(argv))
    results = run(asked, lambda text: sys.stderr.writelines([text, "\n"]))
    head = f"`{shlex.join([*COMMAND.split(), *argv])}`, {machine()}:\n\n"
    for part, found in tables(asked, results).items():
        put(PAGE, part, head + "\n".join(table.markdown() for table in found))
    if results.quality:
        from bench import plots  # noqa: PLC0415 - matplotlib takes a second to load

        plots.draw(asked, results, PICTURES)
