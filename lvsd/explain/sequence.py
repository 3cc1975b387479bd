"""``lvsd explain --picks``: a scheduler's picks in a row, printed, drawn, or for a program."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import schedulers
from lvsd import tables
from lvsd.errors import PluginError, UsageError
from lvsd.explain.making import MOST_SERVERS, WEIGHTS
from lvsd.explain.output import picks_svg
from lvsd.explain.output.data import as_data
from lvsd.explain.output.files import write_text
from lvsd.explain.picks import lineup, markdown, picks, table
from lvsd.terminal import console

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

    from lvsd.explain.model import Choice

MOST_PICKS: Final = 1000


def tell(options: argparse.Namespace) -> int:
    """Show the picks that the options ask for. Raise UsageError for what does not fit."""
    if not 1 <= options.picks <= MOST_PICKS:
        raise UsageError(f"picks are 1 to {MOST_PICKS}, not {options.picks}")
    if options.html is not None or options.pcap is not None:
        raise UsageError("--picks is shown as text, --json, --markdown or --svg")
    weights = options.weights or list(WEIGHTS)
    if len(weights) > MOST_SERVERS:
        raise UsageError(f"{len(weights)} weights, expected {MOST_SERVERS} at most")
    made = choices(options.scheduler, weights, options.picks, options.flags, options.clients)
    if options.json:
        write_text(json.dumps(as_data(made), indent=2), None)
    elif options.markdown:
        write_text(markdown(made), None)
    elif options.svg is not None:
        drawing = picks_svg.svg(made, f"{options.scheduler}: {options.picks} picks")
        write_text(drawing, None if str(options.svg) == "-" else options.svg)
    else:
        show(console(), made)
    return os.EX_OK


def choices(
    scheduler: str,
    weights: Sequence[int],
    count: int,
    flags: Sequence[str] = (),
    clients: Sequence[str] | None = None,
) -> tuple[Choice, ...]:
    """Return the picks. Raise UsageError for what is unknown or no address, PluginError."""
    try:
        return picks(scheduler, weights, count, flags=frozenset(flags), clients=clients)
    except (schedulers.UnknownSchedulerError, ValueError) as error:
        raise UsageError(str(error)) from None
    except schedulers.BrokenSchedulerError as error:
        raise PluginError(str(error)) from error


def show(out: Console, made: Sequence[Choice]) -> None:
    """Print the picks: a row each, with what every server stands for."""
    first = made[0]
    out.print(f"[bold]{first.scheduler}[/]: {first.rule or 'it does not say why'}")
    shown, weights, rows = tables.plain(), lineup(made), table(made)
    for head in rows[0]:
        is_number = head == "pick" or head in weights
        name = f"{head} ({weights[head]})" if head in weights else head
        shown.add_column(name, justify="right" if is_number else "left")
    for row in rows:
        marked = {row["picked"]: f"[bold green]{row.get(row['picked'], '')}[/]"}
        shown.add_row(*(marked.get(head, cell) for head, cell in row.items()))
    out.print(shown)
