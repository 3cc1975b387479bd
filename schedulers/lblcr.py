"""Locality-based least connections with replication: a destination has a set of servers.

As lblc, but a popular destination is served by several caches, and by fewer again when it is
not popular any more.

Formula: a destination address in the cache goes to the server of its set with the least
``(256 * active + total) / weight`` among those not removed, with weight > 0 and not
overloaded. When there is none, or it is overburdened, which is ``active > weight`` while some
server of the service has ``2 * active < weight``, the server is picked as by wlc and joins
the set, at its head. When the set has several members and was last changed more than a day
ago, the member of the greatest such fraction leaves it.

Example, A 2, B 2, C 2, connections stay active: 10.0.0.1 goes to C, the newest, and so do its
next two connections; then C has 3 > 2 active while A and B have 0 < 1, so B joins the set and
takes the fourth. The fifth goes to B too, 1 to 3. A day later C, with 3 to 2, leaves the set.

Cost per pick: O(set) on a hit, and O(log n) amortised when wlc is asked; the kernel's is O(n)
when the server is busy or on a miss. The cache is described in `schedulers.locality`.

When not to use it: for a single virtual address, which is a single entry; where memory for
the same content on several caches is dear (lblc).

Source: net/netfilter/ipvs/ip_vs_lblcr.c, ip_vs_lblcr_schedule, ip_vs_dest_set_min and
ip_vs_dest_set_max.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedulers.locality import Entry, LocalityCache

if TYPE_CHECKING:
    from schedulers.base import Flow, Server


@dataclass(slots=True)
class _Homes(Entry):
    """The servers where an address lives, the latest first, and when one last came or went."""

    servers: list[Server]
    changed_s: float


class LocalityBasedLeastConnectionReplication(LocalityCache[_Homes]):
    """Picks the least loaded server of the destination's set, else the one of wlc."""

    name = "lblcr"

    def pick(self, flow: Flow, now: float) -> Server | None:
        """Return a server of the destination's set, or a new one for it."""
        address = flow.destination
        bucket = self.bucket(address)
        entry = bucket.get(address)
        if entry is not None:
            entry.used_s = now
            server = self._least_loaded(entry.servers)
            if len(entry.servers) > 1 and now > entry.changed_s + self.expiration_s:
                self._evict(entry, now)
            if server is not None and not self.can_relieve(server):
                return server
        least = self.pick_least(flow, now)
        if least is None:
            return None
        if entry is None:
            self.remember(bucket, address, _Homes(now, [least], now))
        elif least not in entry.servers:
            entry.servers.insert(0, least)
            entry.changed_s = now
        return least

    def _least_loaded(self, servers: list[Server]) -> Server | None:
        """Return the usable server of least load; the first one on a tie."""
        members = self.servers
        usable = (
            server
            for server in servers
            if server.weight > 0 and not server.overloaded and server in members
        )
        return min(usable, key=self.load, default=None)

    def _evict(self, entry: _Homes, now: float) -> None:
        """Take out the server of greatest load; the first one on a tie, none of weight 0."""
        weighty = (server for server in entry.servers if server.weight > 0)
        most = max(weighty, key=self.load, default=None)
        if most is not None:
            entry.servers.remove(most)
            entry.changed_s = now
