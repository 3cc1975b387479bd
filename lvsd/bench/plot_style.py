"""What all plots have in common: colours, sizes, titles, the words on their axes.

Colours are of Okabe and Ito's palette, and no colour says what position or form does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lvsd.bench.schedulers import Plan

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
NARROWEST_INCHES: Final = 8.0
HEAD_INCHES: Final = 1.2
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
    "svg.hashsalt": "lvsd",
    "svg.fonttype": "none",
}
"""Text stays text in SVG; the salt makes the same figures the same file."""


def entitle(figure: Figure, first: str, second: str) -> None:
    """Give a figure a title of two lines: what it shows, and how that was found."""
    figure.suptitle(f"{first}\n{second}", x=0.01, horizontalalignment="left", fontsize=10)


def where(plan: Plan, one: str = "", many: str = "") -> str:
    """Return what was simulated, with words for one seed or for many."""
    servers = f"{plan.workload}, {plan.simulated:,} servers"
    if len(plan.seeds) == 1:
        return f"{servers}, seed {plan.seeds[0]}{one}"
    return f"{servers}, {len(plan.seeds)} seeds{many}"


def short(value: float, _place: int) -> str:
    """Return a number in few letters, for an axis."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def time(value_ns: float, _place: int) -> str:
    """Return a time with its unit, for an axis."""
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "\N{MICRO SIGN}s")):
        if value_ns >= unit:
            return f"{value_ns / unit:g} {name}"
    return f"{value_ns:g} ns"


def ratio(value: float, place: int) -> str:
    """Return a ratio, for an axis whose lowest one stands for all below."""
    return f"{FAINTEST:g} or less" if value == FAINTEST else short(value, place)
