"""The tables of ``lvsd bench schedulers``. Pure."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final

from lvsd.bench.schedulers import MEMORY, QUALITY, SPEED
from lvsd.bench.simulation import FAILS_AT, MEASURED_FROM
from lvsd.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.bench.estimate import Estimate
    from lvsd.bench.memory import Memory
    from lvsd.bench.quality import Quality
    from lvsd.bench.schedulers import Results, Selection
    from lvsd.bench.speed import Speed

NONE: Final = "-"
SIZES_IN_A_TABLE: Final = 4
LONGEST_NAME: Final = 14
"""So much of a scheduler's name is shown on a line: the tables fit 60 columns."""

_table: Final = partial(Table, name_width=LONGEST_NAME)


def tables(selection: Selection, results: Results) -> dict[str, list[Table]]:
    """Return the tables of every part that was measured."""
    found = {
        SPEED: list(_speed(results.speed)),
        MEMORY: list(_memory(results.memory)),
        QUALITY: list(_quality(selection, results)) if results.quality else [],
    }
    return {part: each for part, each in found.items() if each}


# --- speed and memory -----------------------------------------------------------------------


def _speed(measured: Sequence[Speed]) -> Iterator[Table]:
    for servers, group in groupby(measured, key=lambda speed: speed.servers):
        yield _table(
            f"Speed with {_servers(servers)}",
            ("scheduler", "picks/s", "± %", "ns"),
            [
                [
                    speed.scheduler,
                    f"{speed.picks_per_s.mean:,.0f}",
                    _percent_of(speed.picks_per_s),
                    f"{1e9 / speed.picks_per_s.mean:,.0f}",
                ]
                for speed in group
            ],
        )


def _memory(measured: Sequence[Memory]) -> Iterator[Table]:
    sizes = list(dict.fromkeys(memory.servers for memory in measured))
    found = {(memory.scheduler, memory.servers): memory for memory in measured}
    names = list(dict.fromkeys(memory.scheduler for memory in measured))
    for begin in range(0, len(sizes), SIZES_IN_A_TABLE):
        shown = sizes[begin : begin + SIZES_IN_A_TABLE]
        yield _table(
            f"Memory in bytes: a scheduler without servers, and per server with {_list(shown)}",
            ("scheduler", "without", *(f"{servers:,}" for servers in shown)),
            [
                [
                    name,
                    f"{found[name, shown[0]].empty_bytes:,}",
                    *(f"{found[name, servers].bytes_per_server:,.0f}" for servers in shown),
                ]
                for name in names
            ],
        )


# --- quality --------------------------------------------------------------------------------


def _quality(selection: Selection, results: Results) -> Iterator[Table]:
    where = f"{selection.workload}, {_servers(selection.simulated)}, {_seeds(selection)}"
    factors = [
        f"{each.scheduler} by {_span(each.weight_factors)}"
        for each in results.quality
        if max(each.weight_factors) > 1
    ]
    multiplied = (
        f" Weights that are counts of connections are multiplied: {', '.join(factors)}."
        if factors
        else ""
    )
    yield _table(
        f"Fairness: {where}",
        ("scheduler", "Jain's index", "% elsewhere", "% refused"),
        [
            [
                each.scheduler,
                _of_load(each, _plus_minus(each.jain, 3)),
                _of_load(each, _plus_minus(each.elsewhere, 1, 100)),
                _plus_minus(each.refused, 1, 100),
            ]
            for each in results.quality
        ],
        "Elsewhere: connections that would be another server's, were all dealt out by weight."
        + multiplied,
    )
    yield _table(
        f"Imbalance, the greatest active/weight by the mean: {where}",
        ("scheduler", "p50", "p99", "max"),
        [
            [
                each.scheduler,
                _of_load(each, _plus_minus(each.imbalance_p50, 2)),
                _of_load(each, _plus_minus(each.imbalance_p99, 2)),
                _of_load(each, _plus_minus(each.imbalance_max, 2)),
            ]
            for each in results.quality
        ],
        "1 is perfect.",
    )
    yield _disruption(selection, results, where)
    yield _recovery(selection, results, where)


def _of_load(quality: Quality, figure: str) -> str:
    """Return a figure that only a load has, or that there was none in the measured part."""
    measured = quality.imbalances[MEASURED_FROM:FAILS_AT]
    return NONE if all(value is None for value in measured) else figure


def _disruption(selection: Selection, results: Results, where: str) -> Table:
    ideal = statistics.fmean(results.ideal_moves)
    return _table(
        f"Disruption, % of clients that go to another server: {where}",
        ("scheduler", "no change", "one removed", "one added"),
        [
            [
                each.scheduler,
                _plus_minus(each.moved_unchanged, 1, 100),
                _plus_minus(each.moved_removed, 1, 100),
                _plus_minus(each.moved_added, 1, 100),
            ]
            for each in results.quality
        ],
        f"Ideal: 0, {ideal:.1%}, {ideal:.1%}: the server's share by weight"
        f" (1/n = {1 / selection.simulated:.1%}).",
    )


def _recovery(selection: Selection, results: Results, where: str) -> Table:
    total = len(selection.seeds)
    return _table(
        f"Recovery of a server that comes back empty: {where}",
        ("scheduler", "seconds", "recovered", "most in a row"),
        [
            [
                each.scheduler,
                _plus_minus(each.recovered_s, 1) if each.recovered_s else NONE,
                f"{each.recovered_seeds} of {total}",
                _plus_minus(each.worst_run, 1),
            ]
            for each in results.quality
        ],
        f"Recovered: 90% of the mean active/weight, within {_seconds(results.window_s)}; the"
        " seconds are those of the seeds in which it was.",
    )


# --- words ----------------------------------------------------------------------------------


def _plus_minus(value: Estimate, digits: int, factor: float = 1) -> str:
    mean = f"{factor * value.mean:.{digits}f}"
    if value.half_width is None:
        return mean
    return f"{mean} ±{factor * value.half_width:.{digits}f}"


def _percent_of(value: Estimate) -> str:
    if value.half_width is None or not value.mean:
        return NONE
    return f"{100 * value.half_width / value.mean:.0f}"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count:,} servers"


def _seeds(selection: Selection) -> str:
    if len(selection.seeds) == 1:
        return f"seed {selection.seeds[0]}"
    return f"{len(selection.seeds)} seeds, ± 95% confidence (Student's t)"


def _span(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return f"{least}" if least == most else f"{least} to {most}"


def _list(sizes: Sequence[int]) -> str:
    *most, last = (f"{size:,}" for size in sizes)
    return f"{', '.join(most)} and {last}" if most else last
