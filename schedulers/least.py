"""The server of least load, whatever load means: what lc, wlc, sed, nq, fo and ovf share.

The kernel walks the whole list at every pick. Here a heap holds one number per server, its
load and, for ties, its place in the list::

    key = load * 2**40 + rank            rank: smaller the nearer to the head of the list

and is lazy about loads that rise. Two things hold at all times: the heap contains every
server's ``queued`` key, and ``queued <= key``. So when the top of the heap is its server's
true key, no server can have a smaller one. When it is not, the true key takes its place and
the next top is looked at. Only a load that falls below its queued key is pushed at once.

Loads are integers; a fraction a/w becomes `fraction`, which orders fractions exactly.

Cost: a pick O(log n) amortised, a change O(1), or O(log n) when the load falls.
"""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Self

from schedulers.base import Flow, Scheduler, Server, Weighed
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

FRACTION_BITS = 62
"""Twice the bits of the greatest weight, 2**31 - 1 (the kernel keeps weights in an int)."""

RANK_BITS = 40
_RANK_MASK = (1 << RANK_BITS) - 1
_UNUSABLE = 1 << 200
"""Above every key: an overhead below 2**64 gives a load below 2**126, a key below 2**166."""

_SLACK = 64
"""Superseded keys that the heap may hold beyond one per server before it is rebuilt."""


def fraction(numerator: int, weight: int) -> int:
    """Return an integer that orders numerator/weight among all such fractions, exactly.

    Weights range from 1 to 2**31 - 1. Two different fractions a/v < b/w differ by at least
    1/(v*w) > 2**-62, so times 2**62 they differ by more than 1, and so do their floors
    differ. Equal fractions have equal floors.
    """
    return (numerator << FRACTION_BITS) // weight


@dataclass(slots=True)
class _Entry:
    """A server's place in the list, its key now, and the least of its keys in the heap."""

    server: Server
    rank: int
    key: int
    queued: int


class LeastLoad(Scheduler):
    """Picks the usable server of least `load`; on a tie the newest one.

    Usable is a server with a weight above 0 that is not overloaded.
    """

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._heap: list[int] = []
        self._entries: dict[Server, _Entry] = {}
        self._by_rank: dict[int, _Entry] = {}
        self._next_rank = _RANK_MASK

    def fork(self) -> Self:
        """Return the same, and go on with other keys; a deep copy takes ten times as long."""
        forked = copy(self)
        self._heap = self._heap.copy()
        self._by_rank = {rank: replace(each) for rank, each in self._by_rank.items()}
        self._entries = {each.server: each for each in self._by_rank.values()}
        return forked

    @abstractmethod
    def load(self, server: Server) -> int | None:
        """Return the load of a usable server, 0 or more; None: do not pick it now."""

    def arithmetic(self, server: Server) -> tuple[int | Fraction | None, str]:
        """Return a number that orders usable servers as `load` does, and how it comes about."""
        load = self.load(server)
        return load, f"load {load}"

    @property
    def servers(self) -> Mapping[Server, object]:
        """The servers that were added and not removed, to test membership."""
        return self._entries

    def add(self, server: Server) -> None:
        """Take in a new server; it wins ties from now on."""
        rank = self._next_rank
        self._next_rank -= 1
        key = self._key(server, rank)
        entry = _Entry(server, rank, key, key)
        self._entries[server] = entry
        self._by_rank[rank] = entry
        heappush(self._heap, key)

    def remove(self, server: Server) -> None:
        """Forget a server; its keys leave the heap when they come to its top."""
        del self._by_rank[self._entries.pop(server).rank]
        self._compact()

    def edit(self, server: Server) -> None:
        """Weigh the server anew."""
        self.changed(server)

    def changed(self, server: Server) -> None:
        """Weigh the server anew; one that was removed is passed over."""
        entry = self._entries.get(server)
        if entry is None:
            return
        entry.key = key = self._key(server, entry.rank)
        if key < entry.queued:
            entry.queued = key
            heappush(self._heap, key)
            self._compact()

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - the load decides
        """Return the usable server of least load."""
        heap = self._heap
        by_rank = self._by_rank
        while heap:
            top = heap[0]
            entry = by_rank.get(top & _RANK_MASK)
            if entry is None or top != entry.queued:
                heappop(heap)
            elif top != entry.key:
                entry.queued = entry.key
                heapreplace(heap, entry.key)
            else:
                return entry.server if top < _UNUSABLE else None
        return None

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - the load decides
        """Return the servers' loads, newest first."""
        return [self.weighed(server) for server in reversed(self._entries)]

    def weighed(self, server: Server) -> Weighed:
        """Return the load of a server, or why it is not in the race."""
        reason = why_not(server)
        return Weighed(server, *((None, reason) if reason else self.arithmetic(server)))

    def _key(self, server: Server, rank: int) -> int:
        load = None if server.overloaded or server.weight <= 0 else self.load(server)
        return _UNUSABLE | rank if load is None else load << RANK_BITS | rank

    def _compact(self) -> None:
        """Rebuild a heap that is mostly superseded keys; amortised this costs O(1)."""
        if len(self._heap) <= 2 * len(self._entries) + _SLACK:
            return
        for entry in self._entries.values():
            entry.queued = entry.key
        self._heap = [entry.key for entry in self._entries.values()]
        heapify(self._heap)
