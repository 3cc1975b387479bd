"""Shortest expected delay: the server that would be least loaded after this connection.

Formula: the least ``(active + 1) / weight`` among the servers with a weight above 0 that are
not overloaded. Inactive connections do not count.

Example, connections stay active, weights A 3, B 2, C 1, the list is C, B, A:

    ====  ====  ====  ====  ======
    pick  A     B     C     picked
    ====  ====  ====  ====  ======
    1     0.33  0.5   1     A
    2     0.67  0.5   1     B
    3     0.67  1     1     A
    4     1     1     1     C
    ====  ====  ====  ====  ======

Cost per pick: O(log n) amortised; the kernel's is O(n).

When not to use it: with few connections the weak servers stay idle while the strong ones
take several (nq uses the idle ones first). Useless for UDP, which is never active.

Source: net/netfilter/ipvs/ip_vs_sed.c, ip_vs_sed_schedule.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from schedulers.base import NOTHING
from schedulers.least import LeastLoad, fraction
from schedulers.words import short

if TYPE_CHECKING:
    from schedulers.base import Server


class ShortestExpectedDelay(LeastLoad):
    """Picks the server of least expected delay."""

    name = "sed"
    rule = "The least (active + 1) / weight; on a tie the newest."
    looks_at = NOTHING
    slow_start = "shares"

    def load(self, server: Server) -> int:
        """Return the delay to expect, in units of one connection on a server of weight 1."""
        return fraction(server.active + 1, server.weight)

    def arithmetic(self, server: Server) -> tuple[Fraction, str]:
        """Return that delay as the fraction that it is."""
        return delay(server)


def delay(server: Server) -> tuple[Fraction, str]:
    """Return the delay to expect of a server, and how it comes about."""
    load = Fraction(server.active + 1, server.weight)
    return load, f"({server.active} + 1) / {server.weight} = {short(load)}"
