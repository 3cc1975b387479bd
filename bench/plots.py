"""What the tables of docs/scheduler-benchmarks.md cannot show, drawn.

=============  ===================================================================
imbalance      the greatest active/weight by the mean, over time, a panel per scheduler
fairness       each server's share of the connections over its share by weight
=============  ===================================================================
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from lvsd.bench.simulation import BACK_AT, FAILS_AT, MEASURED_FROM, SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axis import Axis

    from lvsd.bench.quality import Quality
    from lvsd.bench.schedulers import Results, Selection

BLUE: Final = "#0072B2"
"""Of Okabe and Ito's palette."""
PALE, WARM, OUT = "#D0D0D0", "#F0F0F0", "#FBE3D6"

DPI: Final = 150
PER_ROW: Final = 5
PANEL_INCHES: Final = (2.0, 1.7)
ROW_INCHES: Final = 0.36
NARROWEST_INCHES: Final = 8.0
HEAD_INCHES: Final = 1.2

COARSE: Final = 6
"""Of the grey lines every so many points are drawn."""
LEAST_GREATEST: Final = 2.2
"""The imbalance's axis reaches so far at least."""
LEAST_SPREAD: Final = 2.0
"""The axis of fairness reaches from one by so much to so much at least."""
FAINTEST: Final = 0.01
"""Smaller ratios are drawn here."""

STYLE: Final[Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def draw(selection: Selection, results: Results, folder: Path) -> None:
    """Write the pictures of what was simulated."""
    with mpl.rc_context(STYLE):
        for name, figure in (
            ("imbalance", _imbalance(selection, results.quality)),
            ("fairness", _fairness(selection, results.quality)),
        ):
            figure.savefig(folder / f"{name}.png", dpi=DPI, facecolor="white")


def _imbalance(selection: Selection, qualities: tuple[Quality, ...]) -> Figure:
    columns = min(PER_ROW, len(qualities))
    rows = math.ceil(len(qualities) / columns)
    size = max(NARROWEST_INCHES, columns * PANEL_INCHES[0]), rows * PANEL_INCHES[1] + HEAD_INCHES
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    _entitle(
        figure,
        "Imbalance over time: the greatest active/weight by the mean of all servers, 1 is best",
        f"{_where(selection)}, their means; grey lines are the other schedulers",
    )
    known = [value for each in qualities for value in each.imbalances if value is not None]
    step_s = selection.duration_s / SAMPLES
    times = [step_s * number for number in range(1, SAMPLES + 1)]
    for place, panel in enumerate(panels):
        panel.set_visible(place < len(qualities))
        panel.tick_params(labelbottom=place + columns >= len(qualities))
        if place >= len(qualities):
            continue
        own = qualities[place]
        panel.set_title(own.scheduler, loc="left", fontweight="bold")
        panel.axvspan(0, MEASURED_FROM * step_s, color=WARM, linewidth=0)
        panel.axvspan(FAILS_AT * step_s, BACK_AT * step_s, color=OUT, linewidth=0)
        for each in qualities:
            if each is not own:
                panel.plot(times[::COARSE], _gaps(each)[::COARSE], color=PALE, linewidth=0.6)
        panel.plot(times, _gaps(own), color=BLUE, linewidth=1.3)
        panel.set_yscale("log")
        panel.set_ylim(0.95, max([LEAST_GREATEST, *(1.1 * value for value in known)]))
        panel.set_xlim(0, selection.duration_s)
        _plain_ticks(panel.yaxis)
    figure.supxlabel("virtual time in s")
    figure.supylabel("greatest by mean")
    bands = [
        Patch(color=WARM, label="warming up"),
        Patch(color=OUT, label="one server is out; then back, empty"),
    ]
    figure.legend(handles=bands, loc="outside lower right", ncols=2, frameon=False)
    return figure


def _gaps(quality: Quality) -> list[float]:
    return [math.nan if value is None else value for value in quality.imbalances]


def _fairness(selection: Selection, qualities: tuple[Quality, ...]) -> Figure:
    size = NARROWEST_INCHES, len(qualities) * ROW_INCHES + HEAD_INCHES
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(qualities)), [each.scheduler for each in qualities])
    axes.set_ylim(len(qualities) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"share of the connections / share by weight ({FAINTEST:g}: or less)")
    _entitle(
        figure,
        "Fairness: each server's share of the connections over its share by weight, 1 is best",
        f"{_where(selection)}; a dot is one server in one seed, J is Jain's index of active/weight",
    )
    for row, each in enumerate(qualities):
        shown = [max(FAINTEST, value) for value in each.ratios]
        spread = [row + (number % 7 - 3) * 0.07 for number in range(len(shown))]
        axes.plot(shown, spread, "o", color=BLUE, markersize=3.2, alpha=0.45, markeredgewidth=0)
        axes.annotate(
            f"J {each.jain.mean:.3f}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            verticalalignment="center",
        )
    axes.axvline(1, color="black", linewidth=1, linestyle=":")
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    axes.set_xlim(min(least, 0.9 / LEAST_SPREAD), max(most, 1.1 * LEAST_SPREAD))
    _plain_ticks(axes.xaxis)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """Let a logarithmic axis have 1, 2, 5, 10 ... written as people write them."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _entitle(figure: Figure, first: str, second: str) -> None:
    """Give a figure a title of two lines: what it shows, and how that was found."""
    figure.suptitle(f"{first}\n{second}", x=0.01, horizontalalignment="left", fontsize=10)


def _where(selection: Selection) -> str:
    first, last = selection.seeds[0], selection.seeds[-1]
    return f"{selection.workload}, {selection.simulated:,} servers, seeds {first} to {last}"
