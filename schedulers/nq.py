"""Never queue: an idle server if there is one, else the shortest expected delay.

Formula: the first server of the list, newest first, with no active connection, a weight
above 0 and not overloaded; if all are busy, the least ``(active + 1) / weight`` as in sed.

Example, connections stay active, weights A 3, B 2, C 1, the list is C, B, A:

    ====  ====  ====  ====  ======
    pick  A     B     C     picked
    ====  ====  ====  ====  ======
    1     idle  idle  idle  C
    2     idle  idle  2     B
    3     idle  1     2     A
    4     0.67  1     2     A
    5     1     1     2     B
    6     1     1.5   2     A
    ====  ====  ====  ====  ======

Cost per pick: O(log n) amortised; the kernel's is O(n).

When not to use it: where a weak server is much slower with its one connection than a strong
one with several (sed). Useless for UDP, which is never active.

Source: net/netfilter/ipvs/ip_vs_nq.c, ip_vs_nq_schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.base import NOTHING
from schedulers.least import LeastLoad, fraction
from schedulers.sed import delay

if TYPE_CHECKING:
    from fractions import Fraction

    from schedulers.base import Server


class NeverQueue(LeastLoad):
    """Picks the first idle server, else the one of least expected delay."""

    name = "nq"
    rule = "The newest idle server; if all are busy, the least (active + 1) / weight."
    looks_at = NOTHING
    slow_start = "shares"

    def load(self, server: Server) -> int:
        """Return 0 when idle, else the delay to expect, which is more than 0."""
        return fraction(server.active + 1, server.weight) if server.active else 0

    def arithmetic(self, server: Server) -> tuple[int | Fraction, str]:
        """Return 0 when idle, else the delay as sed has it."""
        return delay(server) if server.active else (0, "idle")
