"""Locality-based least connections: a destination stays at its server while that can cope.

Meant for a farm of caches behind a service by fwmark: what one cache has fetched, it serves.

Formula: a destination address in the cache goes to its server, unless that was removed, has
weight 0, or is overburdened: ``active > weight`` while some server has ``2 * active < weight``
(the overload flag is not looked at). Otherwise the server is picked as by wlc and cached.

Example, A 2, B 2, C 2, connections stay active: 10.0.0.1 goes to C, the newest, and so do its
next two connections; then C has 3 > 2 active while A and B have 0 < 1, and the fourth goes to
B, where the address stays from now on. 10.0.0.2 is new and goes to A, the least loaded.

Cost per pick: O(1) on a hit, O(log n) amortised else; the kernel's are O(n) when the server
is busy and on a miss. The cache is described in `schedulers.locality`.

When not to use it: for a single virtual address, which is a single entry; where one
destination is more than one server can serve (lblcr).

Source: net/netfilter/ipvs/ip_vs_lblc.c, ip_vs_lblc_schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

from schedulers.base import Flow, Server, Weighed
from schedulers.locality import Entry, LocalityCache, not_of


@dataclass(slots=True)
class _Home(Entry):
    """The server where an address lives."""

    server: Server


class LocalityBasedLeastConnection(LocalityCache[_Home]):
    """Picks the server that the destination is cached for, else the one of wlc."""

    name = "lblc"
    rule = "The destination's home, unless that is overburdened; else the one of wlc, its new home."
    looks_at = frozenset({"destination"})
    slow_start = "weights"

    def pick(self, flow: Flow, now: float) -> Server | None:
        """Return the destination's own server, or a new one for it."""
        address = flow.destination
        bucket = self.bucket(address)
        entry = bucket.get(address)
        if entry is not None:
            entry.used_s = now
            server = entry.server
            if server in self.servers and server.weight > 0 and not self.can_relieve(server):
                return server
        least = self.pick_least(flow, now)
        if least is None:
            return None
        if entry is None:
            self.remember(bucket, address, _Home(now, least))
        else:
            entry.server = least
        return least

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:
        """Return 0 for a home that is kept; wlc's loads where there is none, or it is left."""
        weighed = super().weigh(flow, now)
        address = flow.destination
        entry = self.bucket(address).get(address)
        if entry is None:
            return weighed
        home = entry.server
        if home not in self.servers or home.weight <= 0 or self.can_relieve(home):
            return self.leaving(weighed, home)
        if home.active > home.weight:
            kept = f"home, active {home.active} > weight {home.weight}, none half idle"
        else:
            kept = f"home, active {home.active} <= weight {home.weight}"
        return [
            Weighed(home, 0, kept)
            if each.server is home
            else Weighed(each.server, None, not_of("the home", address))
            for each in weighed
        ]
