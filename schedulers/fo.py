"""Weighted failover: all connections to one server, the next one only when it is out.

Formula: the highest weight above 0 among the servers that are not overloaded.

Example, weights A 3, B 2, C 1: A takes all. A gets weight 0 or reaches its upper threshold:
B takes all. A is back: A takes all again.

Cost per pick: O(1) amortised; the kernel's is O(n).

When not to use it: to balance anything. Connections that exist stay where they are.

Source: net/netfilter/ipvs/ip_vs_fo.c, ip_vs_fo_schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.least import LeastLoad

if TYPE_CHECKING:
    from schedulers.base import Server

HIGHEST_WEIGHT = (1 << 31) - 1


class WeightedFailover(LeastLoad):
    """Picks the server of highest weight."""

    name = "fo"

    def load(self, server: Server) -> int:
        """Return how far the weight is from the highest there can be."""
        return HIGHEST_WEIGHT - server.weight
