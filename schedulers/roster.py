"""A service's servers in list order, newest first, and sorted selections of them.

rr and wrr go round such a selection, the *ring*: the servers that can be picked now. It is
kept sorted by rank (smaller: nearer to the head of the list), so that a server that becomes
unusable or usable again costs a binary search and one memmove, and a pick costs an index.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from copy import copy
from typing import TYPE_CHECKING, Self

from schedulers.base import Weighed
from schedulers.words import turn, why_not

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schedulers.base import Server


class Roster:
    """The servers in list order; ``servers`` is for reading only."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self._ranks: dict[Server, int] = {}
        self._next_rank = 0

    def __contains__(self, server: Server) -> bool:
        return server in self._ranks

    def add(self, server: Server) -> None:
        """Put a server at the head of the list."""
        self.servers.insert(0, server)
        self._ranks[server] = self._next_rank
        self._next_rank -= 1

    def remove(self, server: Server) -> Server | None:
        """Take a server out; return the one before it, None when it stood at the head."""
        place = self._place(self.servers, server)
        before = self.servers[place - 1] if place else None
        del self.servers[place], self._ranks[server]
        return before

    def place(self, server: Server | None) -> int:
        """Return which one of the list a server is, from 1; 0 for the head of the list, None."""
        return 0 if server is None else self._place(self.servers, server) + 1

    def at(self, place: int) -> Server | None:
        """Return the server whose `place` that is. Raise ValueError where there is none."""
        if not 0 <= place <= len(self.servers):
            raise ValueError(f"no server at place {place} of {len(self.servers)}")
        return self.servers[place - 1] if place else None

    def fork(self) -> Self:
        """Return the same, which goes on by itself."""
        forked = copy(self)
        self.servers, self._ranks = self.servers.copy(), self._ranks.copy()
        return forked

    def insert(self, ring: list[Server], server: Server) -> None:
        """Put a server of the list into the ring, at its place."""
        ring.insert(self.after(ring, server), server)

    def discard(self, ring: list[Server], server: Server) -> None:
        """Take a server of the list out of the ring, which holds it."""
        del ring[self._place(ring, server)]

    def after(self, ring: list[Server], server: Server | None) -> int:
        """Return the index in the ring of the first server behind this one of the list.

        None stands for the head of the list. The result may be len(ring): nobody is behind.
        """
        if server is None:
            return 0
        return bisect_right(ring, self._ranks[server], key=self._ranks.__getitem__)

    def _place(self, ring: list[Server], server: Server) -> int:
        return bisect_left(ring, self._ranks[server], key=self._ranks.__getitem__)

    def merged(self, rings: Iterable[list[Server]]) -> list[Server]:
        """Return a new ring of the servers of all the rings; two cost O(n), for they are runs."""
        union = [server for ring in rings for server in ring]
        union.sort(key=self._ranks.__getitem__)
        return union


def in_turn(
    servers: Iterable[Server], away: Mapping[Server, int], reasons: Mapping[Server, str]
) -> list[Weighed]:
    """Return how many picks ``away`` the usable servers' turns are, each after its reason."""
    return [
        Weighed(server, away[server], reasons[server] + turn(away[server]))
        if server in away
        else Weighed(server, None, why_not(server))
        for server in servers
    ]
