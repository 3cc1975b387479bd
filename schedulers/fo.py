"""Weighted failover: all connections to one server, the next one only when it is out.

Formula: the highest weight above 0 among the servers that are not overloaded.

Example, weights A 3, B 2, C 1: A takes all. A gets weight 0 or reaches its upper threshold:
B takes all. A is back: A takes all again.

Cost per pick: O(1) amortised; the kernel's is O(n).

When not to use it: to balance anything. Connections that exist stay where they are.

Source: net/netfilter/ipvs/ip_vs_fo.c, ip_vs_fo_schedule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schedulers.base import NOTHING
from schedulers.least import LeastLoad

if TYPE_CHECKING:
    from schedulers.base import Flow, Server, Weighed

HIGHEST_WEIGHT = (1 << 31) - 1


class WeightedFailover(LeastLoad):
    """Picks the server of highest weight."""

    name = "fo"
    rule = "The highest weight that is usable; on a tie the newest."
    looks_at = NOTHING
    asks_counts = False
    slow_start = "none"

    def load(self, server: Server) -> int:
        """Return how far the weight is from the highest there can be."""
        return HIGHEST_WEIGHT - server.weight

    def arithmetic(self, server: Server) -> tuple[int, str]:
        """Return the weight, negative, as the least number wins."""
        return -server.weight, f"weight {server.weight}"

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:
        """Return how far each usable server's weight is below the highest of them."""
        return from_highest(super().weigh(flow, now))


def from_highest(weighed: list[Weighed]) -> list[Weighed]:
    """Return negative weights as distances from the highest of them."""
    least = min((each.number for each in weighed if each.number is not None), default=0)
    result = []
    for each in weighed:
        if each.number is None:
            result.append(each)
        else:
            below = each.number - least
            place = f"{below} below highest" if below else "the highest usable"
            result.append(replace(each, number=below, text=f"{each.text}, {place}"))
    return result
