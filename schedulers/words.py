"""Words for people who ask why: what keeps a server out of the race, a turn, a short number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

    from schedulers.base import Server


def why_not(server: Server) -> str:
    """Return why a server may not be given a new connection; empty when it may."""
    if server.weight <= 0:
        return f"weight {server.weight}"
    return "overloaded" if server.overloaded else ""


def turn(away: int) -> str:
    """Return how many picks come before a server's own."""
    if not away:
        return "next in turn"
    return "1 pick away" if away == 1 else f"{away} picks away"


def short(number: Fraction | float) -> str:
    """Return a number as tables have it: 171.7, 0.33, 2; below 0.1 with two digits that count."""
    value = float(number)
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")
