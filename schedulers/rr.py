"""Round robin: every server in turn.

Formula: from the last pick go on along the list, newest first, and from its end to its head,
to the next server with a weight above 0 that is not overloaded. Weights say nothing more.

Example, A, B, C added in this order, so the list is C, B, A: ``C B A C B A``. When B gets
weight 0 after the first C: ``C A C A``. When a server is removed, the turn goes on where it
stood; one that is added while the turn stands at the head of the list comes next.

Cost per pick: O(1); the kernel's is O(n) in the servers to pass over. A server that becomes
unusable or usable costs O(log n) and one memmove of the ring.

When not to use it: servers of different strength (wrr), connections of very different length
(lc, wlc).

Source: net/netfilter/ipvs/ip_vs_rr.c, ip_vs_rr_schedule and ip_vs_rr_del_dest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.base import NOTHING, Flow, Scheduler, Server, Weighed
from schedulers.roster import Roster, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class RoundRobin(Scheduler):
    """Picks the servers in turn.

    ``_ring[_cursor]`` is the first usable server behind ``_last``, the last pick, in the list.
    """

    name = "rr"
    rule = "The next usable server in the list, newest first, behind the last pick."
    looks_at = NOTHING
    asks_counts = False
    slow_start = "turns"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._roster = Roster()
        self._usable: set[Server] = set()
        self._ring: list[Server] = []
        self._cursor = 0
        self._last: Server | None = None

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what holds servers."""
        yield self._roster, self._roster.fork()
        yield self._usable, self._usable.copy()
        yield self._ring, self._ring.copy()

    def add(self, server: Server) -> None:
        """Take in a new server, at the head of the list."""
        self._roster.add(server)
        self.changed(server)

    def remove(self, server: Server) -> None:
        """Forget a server; if it was the last pick, the one before it stands for it."""
        if server in self._usable:
            self._usable.remove(server)
            self._roster.discard(self._ring, server)
        before = self._roster.remove(server)
        if server is self._last:
            self._last = before
        self._cursor = self._roster.after(self._ring, self._last)

    def edit(self, server: Server) -> None:
        """Take notice of a new weight or overload flag."""
        self.changed(server)

    def changed(self, server: Server) -> None:
        """Take the server into the turn or out of it; one that was removed is passed over."""
        usable = server.weight > 0 and not server.overloaded
        if usable == (server in self._usable) or server not in self._roster:
            return
        if usable:
            self._usable.add(server)
            self._roster.insert(self._ring, server)
        else:
            self._usable.remove(server)
            self._roster.discard(self._ring, server)
        self._cursor = self._roster.after(self._ring, self._last)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - the turn decides
        """Return the next usable server."""
        ring = self._ring
        if not ring:
            return None
        cursor = self._cursor
        if cursor == len(ring):
            cursor = 0
        self._last = server = ring[cursor]
        self._cursor = cursor + 1
        return server

    def position(self) -> tuple[int, ...]:
        """Return which server of the list was the last pick."""
        return (self._roster.place(self._last),)

    def resume(self, position: Sequence[int]) -> None:
        """Go on behind another one's last pick."""
        (place,) = position
        self._last = self._roster.at(place)
        self._cursor = self._roster.after(self._ring, self._last)

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - the turn decides
        """Return how many picks each usable server is away from its turn."""
        coming = self._ring[self._cursor :] + self._ring[: self._cursor]
        away = {server: picks for picks, server in enumerate(coming)}
        return in_turn(self._roster.servers, away, dict.fromkeys(away, ""))
