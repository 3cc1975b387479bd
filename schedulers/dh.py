"""Destination hashing: the same destination address, the same server.

Meant for a farm of caches behind a service by fwmark, where the destination is whatever site
the client asked for.

Formula: a table of 256 buckets is filled with the servers in list order, newest first, over
and over; weights do not count. The bucket of address x, an integer in host order, is
``((x * 0x61C88647) mod 2**32) >> 24``; an IPv6 address is folded to 32 bits by XOR first.
Nobody is picked when the server found has weight 0 or is overloaded; but where it is being drained,
the first usable one from the bucket on that is the lower byte of the same, shifted by 16.

Example, A, B, C added in this order: the table reads C, B, A, C, B, A ... 10.0.0.1 has bucket
39 and goes to C (39 mod 3 = 0), 10.0.0.2 bucket 137 and A, 192.168.0.1 bucket 192 and C.

Cost per pick: O(1). After a server has joined or left the next pick fills the table anew.

When not to use it: for a single virtual address, which is a single bucket; for more than 256
servers, of which the oldest get nothing. Every change of the list moves most addresses.

Source: net/netfilter/ipvs/ip_vs_dh.c, ip_vs_dh_schedule and ip_vs_dh_reassign.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from schedulers.base import Flow, Scheduler, Server, Weighed
from schedulers.hashing import elsewhere, fallbacks, fold, hash_32, next_usable, weigh_owner
from schedulers.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE_BITS = 8
TABLE_SIZE = 1 << TABLE_BITS


class DestinationHashing(Scheduler):
    """Picks the server that the destination address hashes to."""

    name = "dh"
    rule = "The server whose bucket the destination's address hashes to; else nobody."
    looks_at = frozenset({"destination"})
    asks_counts = False
    slow_start = "none"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._roster = Roster()
        self._table: list[Server] = []
        self._stale = False

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what holds servers; nobody changes a table."""
        yield self._roster, self._roster.fork()
        yield self._table, self._table

    def add(self, server: Server) -> None:
        """Take in a new server."""
        self._roster.add(server)
        self._stale = True

    def remove(self, server: Server) -> None:
        """Forget a server."""
        self._roster.remove(server)
        self._stale = True

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - time plays no part
        """Return the server of the destination's bucket, None when it is not usable."""
        if self._stale:
            self._table = deal(self._roster.servers)
            self._stale = False
        if not self._table:
            return None
        value = fold(flow.destination)
        server = self._table[hash_32(value, TABLE_BITS)]
        if server.weight <= 0 and server.leaving:
            return next_usable(self._table, elsewhere(value, TABLE_BITS))
        return None if server.overloaded or server.weight <= 0 else server

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - as `pick`'s
        """Return 0 for the server of the destination's bucket."""
        servers = self._roster.servers
        if not servers:
            return []
        value = fold(flow.destination)
        bucket = hash_32(value, TABLE_BITS)
        table = deal(servers)
        owner = table[bucket]
        fallback = fallbacks(table, elsewhere(value, TABLE_BITS)) if owner.leaving else {}
        return weigh_owner(servers, owner, f"bucket {bucket}", fallback)


def deal(servers: list[Server]) -> list[Server]:
    """Return the buckets of these servers, in list order; without servers there are none."""
    return list(islice(cycle(servers), TABLE_SIZE))
