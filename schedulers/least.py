"""The server of least load, whatever load means: what lc, wlc, sed, nq, fo and ovf share.

The kernel walks the whole list at every pick. Here a heap holds one number per server, its
load and, for ties, its place in the list::

    key = load * 2**40 + rank            rank: smaller the nearer to the head of the list

and is lazy about loads that rise. Two things hold at all times: the heap contains every
server's ``queued`` key, and ``queued <= key``. So when the top of the heap is its server's
true key, no server can have a smaller one. When it is not, the true key takes its place and
the next top is looked at. Only a load that falls below its queued key is pushed at once.

Loads are integers; a fraction a/w becomes `fraction`, which orders fractions exactly.

Cost: a pick O(log n) amortised, a change O(1), or O(log n) when the load falls. Where many loads
rose at once, such as by an edit of all weights, one pick would meet all of them: one that has met
1/32 of them makes the heap anew, which takes 0.1 us a server instead of 2.
"""

from __future__ import annotations

from abc import abstractmethod
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import TYPE_CHECKING

from schedulers.base import Flow, Scheduler, Server, Weighed
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from fractions import Fraction

FRACTION_BITS = 62
"""Twice the bits of the greatest weight, 2**31 - 1 (the kernel keeps weights in an int)."""

RANK_BITS = 40
_RANK_MASK = (1 << RANK_BITS) - 1
_UNUSABLE = 1 << 200
"""Above every key: an overhead below 2**64 gives a load below 2**126, a key below 2**166."""

_SLACK = 64
"""Superseded keys that the heap may hold beyond one per server before it is rebuilt."""

_SHARE_BITS = 5
"""Of this share of the heap, 1/32, and `_SLACK`, a pick corrects the keys one by one."""


def fraction(numerator: int, weight: int) -> int:
    """Return an integer that orders numerator/weight among all such fractions, exactly.

    Weights range from 1 to 2**31 - 1. Two different fractions a/v < b/w differ by at least
    1/(v*w) > 2**-62, so times 2**62 they differ by more than 1, and so do their floors
    differ. Equal fractions have equal floors.
    """
    return (numerator << FRACTION_BITS) // weight


class LeastLoad(Scheduler):
    """Picks the usable server of least `load`; on a tie the newest one.

    Usable is a server with a weight above 0 that is not overloaded. By a server's rank there are
    its key now and the least of its keys in the heap. They are in dictionaries of their own, as
    these are copied a hundred times faster than objects that hold both.
    """

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._heap: list[int] = []
        self._ranks: dict[Server, int] = {}
        self._at: dict[int, Server] = {}
        self._keys: dict[int, int] = {}
        self._queued: dict[int, int] = {}
        self._next_rank = _RANK_MASK

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what holds servers and keys."""
        for mine in (self._heap, self._ranks, self._at, self._keys, self._queued):
            yield mine, mine.copy()

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
        return self._ranks

    def add(self, server: Server) -> None:
        """Take in a new server; it wins ties from now on."""
        rank = self._next_rank
        self._next_rank -= 1
        self._ranks[server] = rank
        self._at[rank] = server
        self._keys[rank] = self._queued[rank] = key = self._key(server, rank)
        heappush(self._heap, key)

    def take_in(self, servers: Iterable[Server]) -> None:
        """Take in the first servers, each as the newest: quicker than one by one."""
        self._at = dict(zip(count(self._next_rank, -1), servers, strict=False))
        self._next_rank -= len(self._at)
        self._ranks = {server: rank for rank, server in self._at.items()}
        self._keys = {rank: self._key(server, rank) for rank, server in self._at.items()}
        self._rebuild()

    def remove(self, server: Server) -> None:
        """Forget a server; its keys leave the heap when they come to its top."""
        rank = self._ranks.pop(server)
        del self._at[rank], self._keys[rank], self._queued[rank]
        self._compact()

    def edit(self, server: Server) -> None:
        """Weigh the server anew."""
        self.changed(server)

    def changed(self, server: Server) -> None:
        """Weigh the server anew; one that was removed is passed over."""
        rank = self._ranks.get(server)
        if rank is None:
            return
        # As `_key` has it, a call sooner (bench/schedulers.py).
        load = None if server.overloaded or server.weight <= 0 else self.load(server)
        key = _UNUSABLE | rank if load is None else load << RANK_BITS | rank
        self._keys[rank] = key
        if key < self._queued[rank]:
            self._queued[rank] = key
            heappush(self._heap, key)
            self._compact()

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - the load decides
        """Return the usable server of least load."""
        heap, keys = self._heap, self._keys
        enough = -1
        while heap:
            top = heap[0]
            rank = top & _RANK_MASK
            key = keys.get(rank)
            if key == top:  # then it is queued, too: nothing below the top is
                return self._at[rank] if top < _UNUSABLE else None
            if key is not None and self._queued[rank] == top:
                self._queued[rank] = key
                heapreplace(heap, key)
            else:
                heappop(heap)
            if enough < 0:
                enough = (len(heap) >> _SHARE_BITS) + _SLACK
            enough -= 1
            if not enough:
                self._rebuild()
                heap = self._heap
        return None

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - the load decides
        """Return the servers' loads, newest first."""
        return [self.weighed(server) for server in reversed(self._ranks)]

    def weighed(self, server: Server) -> Weighed:
        """Return the load of a server, or why it is not in the race."""
        reason = why_not(server)
        return Weighed(server, *((None, reason) if reason else self.arithmetic(server)))

    def _key(self, server: Server, rank: int) -> int:
        load = None if server.overloaded or server.weight <= 0 else self.load(server)
        return _UNUSABLE | rank if load is None else load << RANK_BITS | rank

    def _compact(self) -> None:
        """Rebuild a heap that is mostly superseded keys; amortised this costs O(1)."""
        if len(self._heap) > 2 * len(self._ranks) + _SLACK:
            self._rebuild()

    def _rebuild(self) -> None:
        """Make the heap of the keys that there are now, and of no others."""
        self._queued = self._keys.copy()
        self._heap = list(self._keys.values())
        heapify(self._heap)
