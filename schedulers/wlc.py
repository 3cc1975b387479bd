"""Weighted least connections, the default: the fewest connections for a server's weight.

Formula: the least ``(256 * active + total) / weight`` among the servers with a weight above 0
that are not overloaded. The fractions are compared exactly (see `schedulers.least.fraction`).

Example, connections stay active, weights A 3, B 2, C 1, the list is C, B, A:

    ====  =====  =====  =====  ======
    pick  A      B      C      picked
    ====  =====  =====  =====  ======
    1     0      0      0      C
    2     0      0      257    B
    3     0      128.5  257    A
    4     85.7   128.5  257    A
    5     171.3  128.5  257    B
    6     171.3  257    257    A
    7     257    257    257    C
    ====  =====  =====  =====  ======

Cost per pick: O(log n) amortised; the kernel's is O(n).

When not to use it: a server that comes back empty gets every new connection until it has
caught up; with very short connections wrr spreads as well and does not depend on counts.

Source: net/netfilter/ipvs/ip_vs_wlc.c, ip_vs_wlc_schedule.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from schedulers.base import NOTHING
from schedulers.least import LeastLoad, fraction
from schedulers.words import short

if TYPE_CHECKING:
    from schedulers.base import Server, SlowStart


class WeightedLeastConnection(LeastLoad):
    """Picks the server of least overhead for its weight."""

    name = "wlc"
    rule = "The least (256 * active + total) / weight; on a tie the newest."
    looks_at = NOTHING
    slow_start: ClassVar[SlowStart] = "shares"

    def load(self, server: Server) -> int:
        """Return the overhead that a unit of weight bears."""
        return fraction(server.overhead, server.weight)

    def arithmetic(self, server: Server) -> tuple[Fraction, str]:
        """Return that overhead as the fraction that it is."""
        load = Fraction(server.overhead, server.weight)
        return load, f"(256*{server.active} + {server.total}) / {server.weight} = {short(load)}"
