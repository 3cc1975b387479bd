"""Least connections: the server with the fewest connections, active ones counting most.

Formula: the least ``256 * active + total`` among the servers with a weight above 0 that are
not overloaded; weights say nothing more. Active connections cost a server far more than ones
that only wait for their end, hence the factor.

Example, connections stay active, A, B, C added in this order, so the list is C, B, A:

    ====  ===  ===  ===  ======
    pick  A    B    C    picked
    ====  ===  ===  ===  ======
    1     0    0    0    C
    2     0    0    257  B
    3     0    257  257  A
    4     257  257  257  C
    ====  ===  ===  ===  ======

Cost per pick: O(log n) amortised; the kernel's is O(n).

When not to use it: servers of different strength (wlc). A server that refuses connections at
once looks idle and draws all of them: have its health checked.

Source: net/netfilter/ipvs/ip_vs_lc.c, ip_vs_lc_schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.base import NOTHING
from schedulers.least import LeastLoad

if TYPE_CHECKING:
    from schedulers.base import Server


class LeastConnection(LeastLoad):
    """Picks the server of least overhead."""

    name = "lc"
    rule = "The least 256 * active + total; on a tie the newest."
    looks_at = NOTHING
    slow_start = "none"

    def load(self, server: Server) -> int:
        """Return the overhead."""
        return server.overhead

    def arithmetic(self, server: Server) -> tuple[int, str]:
        """Return the overhead and its sum."""
        return server.overhead, f"256*{server.active} + {server.total} = {server.overhead}"
