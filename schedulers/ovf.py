"""Weighted overflow: fill the server of highest weight, then spill over to the next.

Formula: the highest weight above 0 among the servers with ``active <= weight`` that are not
overloaded. So a server takes weight + 1 active connections before the next one gets any.

Example, connections stay active, weights A 3, B 2, C 1: ``AAAA BBB CC``, then nobody.

Cost per pick: O(log n) amortised; the kernel's is O(n).

When not to use it: for UDP, which is never active, so that nothing ever spills over; or
where the sum of the weights does not bound what may come, for then clients are refused.

Source: net/netfilter/ipvs/ip_vs_ovf.c, ip_vs_ovf_schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.base import NOTHING
from schedulers.fo import HIGHEST_WEIGHT, from_highest
from schedulers.least import LeastLoad

if TYPE_CHECKING:
    from schedulers.base import Flow, Server, Weighed


class WeightedOverflow(LeastLoad):
    """Picks the server of highest weight that is not full."""

    name = "ovf"
    rule = "The highest weight among those with active <= weight; on a tie the newest."
    looks_at = NOTHING
    slow_start = "weights"

    def load(self, server: Server) -> int | None:
        """Return how far the weight is from the highest there can be; None when full."""
        return None if server.active > server.weight else HIGHEST_WEIGHT - server.weight

    def arithmetic(self, server: Server) -> tuple[int | None, str]:
        """Return the weight, negative, as the least number wins; None when full."""
        if server.active > server.weight:
            return None, f"full, active {server.active} > weight {server.weight}"
        return -server.weight, f"active {server.active} <= weight {server.weight}"

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:
        """Return how far the weight of each server with room is below the highest of them."""
        return from_highest(super().weigh(flow, now))
