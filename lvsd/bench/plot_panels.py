"""Plots with a panel per scheduler, all with the same axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lvsd.bench.plot_style import (
    BLUE,
    HEAD_INCHES,
    NARROWEST_INCHES,
    ORANGE,
    entitle,
    short,
    time,
    where,
)
from lvsd.bench.simulation import BACK_AT, FAILS_AT, MEASURED_FROM, SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from lvsd.bench.estimate import Estimate
    from lvsd.bench.quality import Quality
    from lvsd.bench.schedulers import Plan, Results

PER_ROW: Final = 5
PANEL_INCHES: Final = (2.0, 1.7)
COARSE: Final = 6
"""Of the grey lines every so many points are drawn."""
PALE, WARM, OUT = "#D0D0D0", "#F0F0F0", "#FBE3D6"
LEAST_GREATEST: Final = 2.2
"""The imbalance's axis reaches so far at least."""


def _panels(names: Sequence[str], x: str, y: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel per scheduler, all with the same axes."""
    columns = min(PER_ROW, len(names))
    rows = math.ceil(len(names) / columns)
    size = max(NARROWEST_INCHES, columns * PANEL_INCHES[0]), rows * PANEL_INCHES[1] + HEAD_INCHES
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for place, panel in enumerate(panels):
        panel.set_visible(place < len(names))
        panel.tick_params(labelbottom=place + columns >= len(names))
        if place + columns >= len(names):
            panel.set_xlabel(x)
        if place % columns == 0:
            panel.set_ylabel(y)
    for name, panel in zip(names, panels, strict=False):
        panel.set_title(name, loc="left", fontweight="bold")
    return figure, panels[: len(names)]


def cost(plan: Plan, results: Results) -> Figure:
    """Draw the time per pick over the number of servers, ours and the rule's."""
    speeds = results.speed
    names = list(dict.fromkeys(speed.scheduler for speed in speeds))
    figure, panels = _panels(names, "real servers", "time per pick")
    entitle(
        figure,
        "Cost of a pick: lvsd's schedulers beside the kernel's rules, spelled out in Python",
        f"weights {plan.weights.text}; bars are 95% confidence intervals of {plan.turns} turns",
    )
    for name, panel in zip(names, panels, strict=True):
        own = [speed for speed in speeds if speed.scheduler == name]
        ours = [(speed.servers, speed.ours) for speed in own]
        rule = [(speed.servers, speed.rule) for speed in own if speed.rule is not None]
        _cost_line(panel, ours, BLUE, "o-")
        _cost_line(panel, rule, ORANGE, "s--")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(short))
        panel.yaxis.set_major_locator(LogLocator(numticks=20))
        panel.yaxis.set_major_formatter(FuncFormatter(time))
        panel.minorticks_off()
    lines = [
        Line2D([], [], color=BLUE, marker="o", markersize=4, label="lvsd"),
        Line2D([], [], color=ORANGE, marker="s", markersize=4, linestyle="--", label="the rule"),
    ]
    figure.legend(handles=lines, loc="outside lower right", ncols=2, frameon=False)
    return figure


def _cost_line(panel: Axes, points: Sequence[tuple[int, Estimate]], colour: str, form: str) -> None:
    rates = [(value.mean, value.half_width or 0.0) for _, value in points]
    costs = [1e9 / mean for mean, _ in rates]
    lower = [1e9 / mean - 1e9 / (mean + half) for mean, half in rates]
    upper = [1e9 / max(mean - half, mean / 10) - 1e9 / mean for mean, half in rates]
    panel.errorbar(
        [servers for servers, _ in points],
        costs,
        yerr=[lower, upper],
        fmt=form,
        color=colour,
        markersize=3.5,
        linewidth=1.3,
        elinewidth=0.8,
    )


def imbalance(plan: Plan, results: Results) -> Figure:
    """Draw the greatest active/weight by the mean, over virtual time."""
    qualities = results.quality
    names = [each.scheduler for each in qualities]
    figure, panels = _panels(names, "virtual time in s", "greatest by mean")
    others = "; grey lines are the other schedulers" if len(names) > 1 else ""
    entitle(
        figure,
        "Imbalance over time: the greatest active/weight by the mean of all servers, 1 is best",
        where(plan, many=", their means") + others,
    )
    known = [value for each in qualities for value in each.imbalances if value is not None]
    step_s = plan.duration_s / SAMPLES
    times = [step_s * number for number in range(1, SAMPLES + 1)]
    for own, panel in zip(qualities, panels, strict=True):
        panel.axvspan(0, MEASURED_FROM * step_s, color=WARM, linewidth=0)
        panel.axvspan(FAILS_AT * step_s, BACK_AT * step_s, color=OUT, linewidth=0)
        for each in qualities:
            if each is not own:
                panel.plot(times[::COARSE], _gaps(each)[::COARSE], color=PALE, linewidth=0.6)
        panel.plot(times, _gaps(own), color=BLUE, linewidth=1.3)
        panel.set_yscale("log")
        panel.set_ylim(0.95, max([LEAST_GREATEST, *(1.1 * value for value in known)]))
        panel.set_xlim(0, plan.duration_s)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(short))
        panel.yaxis.set_minor_locator(NullLocator())
    bands = [
        Patch(color=WARM, label="warming up"),
        Patch(color=OUT, label="one server is out; then back, empty"),
    ]
    figure.legend(handles=bands, loc="outside lower right", ncols=2, frameon=False)
    return figure


def _gaps(quality: Quality) -> list[float]:
    return [math.nan if value is None else value for value in quality.imbalances]
