"""Source hashing: the same client address, the same server, by weight.

Formula: a table of 256 buckets is filled in list order, newest first; each server takes as
many in a row as its weight (one, even with weight 0), over and over. The bucket h of address
x, an integer in host order, is ``((x * 0x61C88647) mod 2**32) >> 24``; an IPv6 address is
folded to 32 bits by XOR first. Nobody is picked when the server found has weight 0 or is
overloaded. Flags:

    sh-port      hash x + source port (mod 2**32), so that a client's connections spread
    sh-fallback  in place of nobody: the first usable server from bucket 2h mod 256 on

The clients of a server that is being drained have the first usable one from another bucket on,
the lower byte of ``((x * 0x61C88647) mod 2**32) >> 16``, where they spread.

Example, A 1, B 2, C 1 added in this order: the table reads C, B, B, A, C, B, B, A ...
10.0.0.1 has bucket 39 and goes to A (39 mod 4 = 3), 10.0.0.2 bucket 137 and B. With sh-port
and source port 40000 10.0.0.1 has bucket 203 and goes to A.

Cost per pick: O(1); with sh-fallback and an unusable server up to 256 steps. After any change of
the servers or their weights the next pick fills the table anew.

When not to use it: few client addresses, many behind one NAT (sh-port, wlc); weights that sum
to over 256, or more servers than that, where the oldest come off short. Every change moves
most clients (mh moves few).

Source: net/netfilter/ipvs/ip_vs_sh.c, ip_vs_sh_schedule, ip_vs_sh_get_fallback and
ip_vs_sh_reassign.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from schedulers.base import Flow, Scheduler, Server, Weighed
from schedulers.hashing import elsewhere, fallbacks, fold, hash_32, next_usable, weigh_owner
from schedulers.roster import Roster
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE_BITS = 8
TABLE_SIZE = 1 << TABLE_BITS


class SourceHashing(Scheduler):
    """Picks the server that the client's address hashes to."""

    name = "sh"
    rule = "The server whose bucket the client's address hashes to; else nobody, or a fallback."
    known_flags = frozenset({"sh-port", "sh-fallback"})
    looks_at = frozenset({"source"})
    asks_counts = False
    slow_start = "none"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._by_port = "sh-port" in flags
        if self._by_port:
            self.looks_at = frozenset({"source", "ports"})
        self._fallback = "sh-fallback" in flags
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

    def edit(self, server: Server) -> None:  # noqa: ARG002 - all weights are read anew
        """Take notice of a new weight."""
        self._stale = True

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - time plays no part
        """Return the server of the client's bucket; when unusable None, or the fallback."""
        if self._stale:
            self._table = deal(self._roster.servers)
            self._stale = False
        if not self._table:
            return None
        value = fold(flow.source)
        if self._by_port:
            value += flow.source_port
        bucket = hash_32(value, TABLE_BITS)
        server = self._table[bucket]
        if server.overloaded or server.weight <= 0:
            begin = self._begin(server, value, bucket)
            return None if begin is None else next_usable(self._table, begin)
        return server

    def _begin(self, owner: Server, value: int, bucket: int) -> int | None:
        """Return where to look for a server in place of one that is not usable; None: nowhere."""
        if owner.leaving:
            return elsewhere(value, TABLE_BITS)
        return 2 * bucket % TABLE_SIZE if self._fallback else None

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - as `pick`'s
        """Return 0 for the server of the client's bucket, or how far on the fallbacks are."""
        servers = self._roster.servers
        table = deal(servers) if self._stale else self._table
        if not table:
            return []
        value = fold(flow.source) + (flow.source_port if self._by_port else 0)
        bucket = hash_32(value, TABLE_BITS)
        owner = table[bucket]
        begin = self._begin(owner, value, bucket) if why_not(owner) else None
        fallback = {} if begin is None else fallbacks(table, begin)
        return weigh_owner(servers, owner, f"bucket {bucket}", fallback)


def deal(servers: list[Server]) -> list[Server]:
    """Return the buckets of these servers, in list order; without servers there are none."""
    table: list[Server] = []
    for server in cycle(servers):
        missing = TABLE_SIZE - len(table)
        if not missing:
            break
        table += [server] * min(max(1, server.weight), missing)
    return table
