"""Plots with a row per scheduler."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lvsd.bench.plot_style import (
    BLUE,
    FAINTEST,
    GREY,
    HEAD_INCHES,
    NARROWEST_INCHES,
    ORANGE,
    entitle,
    ratio,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from lvsd.bench.estimate import Estimate
    from lvsd.bench.quality import Quality
    from lvsd.bench.schedulers import Plan, Results

BARS_INCHES, DOTS_INCHES = 0.46, 0.36
LEAST_SPREAD: Final = 2.0
"""The axis of fairness reaches from one by so much to so much at least."""


def _rows(names: Sequence[str], x: str, inches: float) -> tuple[Figure, Axes]:
    """Return a figure with a row per scheduler, the first on top."""
    size = NARROWEST_INCHES, len(names) * inches + HEAD_INCHES
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(x)
    return figure, axes


def disruption(plan: Plan, results: Results) -> Figure:
    """Draw which share of the clients moves, in bars."""
    qualities = results.quality
    names = [each.scheduler for each in qualities]
    figure, axes = _rows(names, "% of the clients", BARS_INCHES)
    entitle(
        figure,
        "Disruption: clients that go to another server",
        where(plan, many="; bars are means, whiskers 95% confidence intervals"),
    )
    kinds: list[tuple[str, str, str, Callable[[Quality], Estimate]]] = [
        ("nothing changes", GREY, "", lambda each: each.moved_unchanged),
        ("one server is removed", ORANGE, "///", lambda each: each.moved_removed),
        ("one server is added", BLUE, "...", lambda each: each.moved_added),
    ]
    for place, (label, colour, hatch, of) in enumerate(kinds):
        means = [100 * of(each).mean for each in qualities]
        halves = [100 * (of(each).half_width or 0.0) for each in qualities]
        axes.barh(
            [row + (place - 1) * 0.27 for row in range(len(qualities))],
            means,
            height=0.25,
            xerr=[
                [min(mean, half) for mean, half in zip(means, halves, strict=True)],
                [min(100 - mean, half) for mean, half in zip(means, halves, strict=True)],
            ],
            error_kw={"elinewidth": 0.8, "ecolor": "black"},
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=label,
        )
    ideal = 100 * statistics.fmean(results.ideal_moves)
    axes.axvline(ideal, color="black", linewidth=1, linestyle=":", label=f"ideal: {ideal:.1f}%")
    axes.set_xlim(0, 100)
    figure.legend(loc="outside lower right", ncols=4, frameon=False)
    return figure


def fairness(plan: Plan, results: Results) -> Figure:
    """Draw each server's share of the connections over its share by weight, as dots."""
    qualities = results.quality
    names = [each.scheduler for each in qualities]
    figure, axes = _rows(names, "share of the connections / share by weight", DOTS_INCHES)
    jain = "J is Jain's index of active/weight"
    entitle(
        figure,
        "Fairness: each server's share of the connections over its share by weight, 1 is best",
        where(plan, f"; a dot is one server, {jain}", f"; a dot is one server in one seed, {jain}"),
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
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(ratio))
    axes.xaxis.set_minor_locator(NullLocator())
    return figure
