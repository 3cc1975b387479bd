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

Cost per pick: O(log n), and as much for each change of a server's load since the destination
was last asked for; the kernel's is O(n). A set of fewer than `LARGE_SET` servers is walked. A
larger one is ranked, by a heap of its own that is told of the changes when its destination is
asked for. If they are more than the set has members, walking is cheaper: the set is walked
and loses its ranking. At most `MOST_RANKED` sets are ranked at a time; while all of them are
in demand, other large ones are walked too. The cache is described in `schedulers.locality`.

When not to use it: for a single virtual address, which is a single entry; where memory for
the same content on several caches is dear (lblc).

Source: net/netfilter/ipvs/ip_vs_lblcr.c, ip_vs_lblcr_schedule, ip_vs_dest_set_min and
ip_vs_dest_set_max.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self

from schedulers.least import LeastLoad, fraction
from schedulers.locality import Entry, LocalityCache, not_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schedulers.base import Flow, Server, Weighed


class _Ranking(LeastLoad):
    """A wlc among the members of one set.

    A member that is not in the service is unusable, and keeps its place: it may come back.
    """

    def __init__(self, service: Mapping[Server, object], members: list[Server]) -> None:
        super().__init__()
        self._service = service
        self.take_in(reversed(members))

    def load(self, server: Server) -> int | None:
        """Return wlc's load of a server of the service."""
        return fraction(server.overhead, server.weight) if server in self._service else None


@dataclass(slots=True, eq=False)
class _Homes(Entry):
    """The servers where an address lives, the latest first, and when one last came or went.

    ``ranking``, where there is one, has the same members, and knows of the service's first
    ``told`` changes.
    """

    servers: list[Server]
    changed_s: float
    ranking: _Ranking | None = None
    told: int = 0

    def join(self, server: Server, now: float) -> None:
        """Put a server at the head, unless it is a member."""
        if server in (self.ranking.servers if self.ranking else self.servers):
            return
        self.servers.insert(0, server)
        self.changed_s = now
        if self.ranking:
            self.ranking.add(server)

    def leave(self, server: Server, now: float) -> None:
        """Take a member out."""
        self.servers.remove(server)
        self.changed_s = now
        if self.ranking:
            self.ranking.remove(server)


class LocalityBasedLeastConnectionReplication(LocalityCache[_Homes]):
    """Picks the least loaded server of the destination's set, else the one of wlc."""

    name = "lblcr"
    rule = "The least loaded of the destination's set; if overburdened, the one of wlc joins it."
    looks_at = frozenset({"destination"})
    slow_start = "weights"

    LARGE_SET: ClassVar[int] = 16
    """A smaller set is walked, which costs less there than a ranking."""

    MOST_RANKED: ClassVar[int] = 64
    """A ranking takes some 220 bytes per member, and there may be 24576 sets."""

    JOURNAL_LENGTH: ClassVar[int] = 4096
    """So many changes back a ranking can still be told of."""

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._ranked: deque[_Homes] = deque()
        self._journal: deque[Server] = deque(maxlen=self.JOURNAL_LENGTH)
        self._changes = 0

    def fork(self) -> Self:
        """Return the same; rankings, which know one service's servers, are made anew on demand."""
        while self._ranked:
            self._ranked.pop().ranking = None
        return super().fork()

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield the same, and what changed of late."""
        yield from super().forked()
        yield self._journal, self._journal.copy()

    def add(self, server: Server) -> None:
        """Take in a new server; in the sets that still hold it, it is usable again."""
        super().add(server)
        self._note(server)

    def remove(self, server: Server) -> None:
        """Forget a server, except for its places in sets."""
        super().remove(server)
        self._note(server)

    def changed(self, server: Server) -> None:
        """Weigh the server anew, and note that the rankings have to."""
        super().changed(server)
        self._note(server)

    def pick(self, flow: Flow, now: float) -> Server | None:
        """Return a server of the destination's set, or a new one for it."""
        address = flow.destination
        bucket = self.bucket(address)
        homes = bucket.get(address)
        if homes is not None:
            homes.used_s = now
            ranking = self._ranking(homes) if len(homes.servers) >= self.LARGE_SET else None
            server = ranking.pick(flow, now) if ranking else self._least_loaded(homes.servers)
            if len(homes.servers) > 1 and now > homes.changed_s + self.expiration_s:
                self._evict(homes, now)
            if server is not None and not self.can_relieve(server):
                return server
        least = self.pick_least(flow, now)
        if least is None:
            return None
        if homes is None:
            self.remember(bucket, address, _Homes(now, [least], now))
        else:
            homes.join(least, now)
        return least

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:
        """Return the loads of the set, if one of it can be picked; else everybody's.

        Ties are decided in the order of the set, the latest member first.
        """
        weighed = super().weigh(flow, now)
        address = flow.destination
        homes = self.bucket(address).get(address)
        if homes is None:
            return weighed
        loads = {each.server: each for each in weighed}
        members = [loads.pop(server) for server in homes.servers if server in loads]
        usable = (each for each in members if each.number is not None)
        least = min(usable, key=lambda each: each.number or 0, default=None)
        if least is None or self.can_relieve(least.server):
            return self.leaving(weighed, least.server if least else None)
        return [
            *(replace(each, text=f"in the set: {each.text}") for each in members),
            *(
                replace(each, number=None, text=not_of("in the set", address))
                for each in loads.values()
            ),
        ]

    def _note(self, server: Server) -> None:
        self._changes += 1
        self._journal.append(server)

    def _least_loaded(self, servers: list[Server]) -> Server | None:
        """Return the usable server of least load; the first one on a tie."""
        members = self.servers
        usable = [
            server
            for server in servers
            if server.weight > 0 and not server.overloaded and server in members
        ]
        if len(usable) == 1:
            return usable[0]
        return min(usable, key=self.load, default=None)

    def _ranking(self, homes: _Homes) -> _Ranking | None:
        """Return a set's ranking, up to date; None when the set is better walked."""
        news = self._changes - homes.told
        in_demand = self._is_in_demand(homes)
        homes.told = self._changes
        if homes.ranking is None:
            return self._rank(homes) if in_demand else None
        if in_demand:
            for server in islice(reversed(self._journal), news):
                homes.ranking.changed(server)
        else:
            homes.ranking = None
            self._ranked.remove(homes)
        return homes.ranking

    def _is_in_demand(self, homes: _Homes) -> bool:
        """Tell whether to walk the set would cost more than to go through what has changed."""
        return self._changes - homes.told <= min(len(homes.servers), self.JOURNAL_LENGTH)

    def _rank(self, homes: _Homes) -> _Ranking | None:
        """Rank a set; None when as many as may be are ranked.

        Of those the one that waits longest is looked at: when not in demand any more it makes
        room, otherwise it waits again.
        """
        if len(self._ranked) >= self.MOST_RANKED:
            longest = self._ranked.popleft()
            if self._is_in_demand(longest):
                self._ranked.append(longest)
                return None
            longest.ranking = None
        homes.ranking = _Ranking(self.servers, homes.servers)
        self._ranked.append(homes)
        return homes.ranking

    def _evict(self, homes: _Homes, now: float) -> None:
        """Take out the server of greatest load; the first one on a tie, none of weight 0."""
        weighty = (server for server in homes.servers if server.weight > 0)
        most = max(weighty, key=self.load, default=None)
        if most is not None:
            homes.leave(most, now)
