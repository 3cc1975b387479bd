"""Weighted round robin: every server in turn, as often as its weight says, interleaved.

Formula: the turn goes round the list, newest first, at a *current weight* cw, and picks the
servers with ``weight >= cw`` that are not overloaded. At the end of the list cw is lowered by
di; when it would be 0 or less it starts anew at mw::

    di = gcd of the weights above 0 (1 if there are none)
    mw = highest weight - (di - 1)

Any change of the service's servers puts the turn back to the head of the list, computes di
and mw anew, and then cw: mw when cw > mw or cw = 0, else ``cw // di * di + 1`` when di > 1,
else as it was. So servers that were added one by one begin with cw = 1; a service that gets this
scheduler when it has its servers begins with cw = mw.

Example, A 4, B 3, C 2 added in this order (list C, B, A; di 1, mw 4):

    ====  ============  ======
    cw    weight >= cw  picked
    ====  ============  ======
    1     C, B, A       CBA
    4     A             A
    3     B, A          BA
    2     C, B, A       CBA
    1     C, B, A       CBA
    ====  ============  ======

Cost per pick: O(1) amortised; the kernel's is O(n), and O(n * mw / di) when only light
servers are usable. The ring for a cw is merged from the one before it and the servers of the
weights that now suffice, in as many steps as it then has picks. A server that joins, leaves, is
edited, becomes overloaded or is relieved costs O(log n) and one memmove; a change of cw that comes
of it, and of di where the greatest common divisor grows, costs O(n).

When not to use it: connections of very different length (wlc); high weights far apart,
such as 1000 and 501, which send 500 in a row to one server.

Source: net/netfilter/ipvs/ip_vs_wrr.c, ip_vs_wrr_schedule and ip_vs_wrr_dest_changed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final, Self

from schedulers.base import NOTHING, Flow, Scheduler, Server, Weighed
from schedulers.roster import Roster, in_turn
from schedulers.weights import Weights
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FEW: Final = 16
"""Of so many servers one is put at its place, which costs as much as to look at all of them."""


class WeightedRoundRobin(Scheduler):
    """Picks the servers in turn, by weight.

    ``_groups`` are the usable servers by weight, in list order, and ``_weights`` its keys,
    ascending. ``_usable`` says in which group each is. ``_ring`` holds the usable servers with
    weight >= ``_cw``, unless that is stale, and ``_cursor`` the index in it of the first one behind
    ``_last``, the last pick (None: the head of the list).
    """

    name = "wrr"
    rule = "The next in the list, newest first, with weight >= cw, which falls round by round."
    looks_at = NOTHING
    asks_counts = False
    slow_start = "turns"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._roster = Roster()
        self._di = 1
        self._mw = 0
        self._cw = 0
        self._last: Server | None = None
        self._cursor = 0
        self._ring: list[Server] = []
        self._usable: dict[Server, int] = {}
        self._groups: dict[int, list[Server]] = {}
        self._weights: list[int] = []
        self._of_all = Weights()
        self._stale = False
        self._shares_groups = False

    def fork(self) -> Self:
        """Return the same; groups are copied once this one changes, as the other does not then."""
        forked = super().fork()
        self._shares_groups = True
        return forked

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what holds servers."""
        yield self._roster, self._roster.fork()
        yield self._of_all, self._of_all.fork()
        yield self._usable, self._usable.copy()
        yield self._ring, self._ring.copy()
        yield self._groups, self._groups
        yield self._weights, self._weights

    def starting(self, servers: Sequence[Server]) -> Iterator[None]:
        """Begin with the highest weight, as all servers are known (ip_vs_wrr_init_svc)."""
        yield from super().starting(servers)
        if self._cw != self._mw:
            self._cw = self._mw
            self._outdate_ring()

    def add(self, server: Server) -> None:
        """Take in a new server, at the head of the list, and begin the turn anew."""
        self._roster.add(server)
        self._note(server)
        self._restart()

    def remove(self, server: Server) -> None:
        """Forget a server and begin the turn anew."""
        if server in self._usable:
            self._leave(server)
        self._of_all.put(server, 0)
        self._roster.remove(server)
        self._restart()

    def edit(self, server: Server) -> None:
        """Begin the turn anew, whatever was edited."""
        self._note(server)
        self._restart()

    def changed(self, server: Server) -> None:
        """Take the server into the turn or out of it, as its overload flag says."""
        usable = server.weight > 0 and not server.overloaded
        if usable == (server in self._usable) or server not in self._roster:
            return
        if usable:
            self._enter(server)
        else:
            self._leave(server)
        self._cursor = self._roster.after(self._ring, self._last)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - the turn decides
        """Return the next usable server whose weight suffices."""
        cursor = self._cursor
        if cursor == len(self._ring):
            if not self._next_ring():
                return None
            cursor = self._cursor
        self._last = server = self._ring[cursor]
        self._cursor = cursor + 1
        return server

    def position(self) -> tuple[int, ...]:
        """Return cw, and which server of the list was the last pick."""
        return self._cw, self._roster.place(self._last)

    def resume(self, position: Sequence[int]) -> None:
        """Go on with another one's cw, behind its last pick."""
        cw, place = position
        last = self._roster.at(place)
        if not 0 <= cw <= self._mw:
            raise ValueError(f"cw {cw} with a highest of {self._mw}")
        self._cw, self._last = cw, last
        self._make_ring()
        self._cursor = self._roster.after(self._ring, last)

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - the turn decides
        """Return how many picks each usable server is away from its turn, and at which cw it is.

        Rounds between two values of cw at which somebody joins have as many picks each as there
        are servers in them. So they are counted together, however many they are.
        """
        usable = [server for server in self._roster.servers if not why_not(server)]
        if self._stale:
            coming = [server for server in usable if server.weight >= self._cw]
        else:
            coming = self._ring[self._cursor :]
        away = {server: picks for picks, server in enumerate(coming)}
        turns = dict.fromkeys(coming, self._cw)

        picks = len(coming)
        cw = self._cw - self._di if self._cw > self._di else self._mw
        joining: dict[int, list[Server]] = {}
        for server in usable:
            rounds = max(0, -((server.weight - cw) // self._di))
            joining.setdefault(cw - rounds * self._di, []).append(server)
        ring: list[Server] = []
        for level in sorted(joining, reverse=True):
            picks += len(ring) * ((cw - level) // self._di)
            cw = level
            for server in joining[level]:
                self._roster.insert(ring, server)
            for server in joining[level]:
                away.setdefault(server, picks + self._roster.after(ring, server) - 1)
                turns.setdefault(server, level)
        reasons = {
            server: f"weight {server.weight} >= cw {level}, " for server, level in turns.items()
        }
        return in_turn(self._roster.servers, away, reasons)

    def _note(self, server: Server) -> None:
        """Put a server of the list where it belongs now."""
        if server in self._usable:
            self._leave(server)
        self._of_all.put(server, server.weight)
        if server.weight > 0 and not server.overloaded:
            self._enter(server)

    def _restart(self) -> None:
        """Compute di, mw and cw anew; the ring of another cw follows at the next pick."""
        before = self._cw
        self._di = self._of_all.divisor
        self._mw = self._of_all.highest - (self._di - 1)
        if self._cw > self._mw or not self._cw:
            self._cw = self._mw
        elif self._di > 1:
            self._cw = self._cw // self._di * self._di + 1
        self._last = None
        self._cursor = 0
        if self._cw != before:
            self._outdate_ring()

    def _outdate_ring(self) -> None:
        """Have the next pick make the ring, at the head of the list."""
        self._stale = True
        self._ring = []
        self._cursor = 0

    def _next_ring(self) -> bool:
        """Lower cw to where somebody is usable, and put the turn at the head of the list.

        Return False when nobody is usable. Then the kernel, which has tried all values of cw,
        leaves the turn at the head with cw = mw, unless it began in mid list with the lowest
        cw: then it ends where it began.
        """
        if self._stale:
            self._make_ring()
            if self._ring:
                return True
        if not self._weights:
            if self._mw and (self._last is None or self._cw > self._di):
                self._last = None
                self._cw = self._mw
            return False
        above, lighter = self._cw, self._cw - self._di
        if lighter <= 0:
            lighter = self._mw
        steps = max(0, -((self._weights[-1] - lighter) // self._di))
        self._cw = lighter - steps * self._di
        self._last = None
        self._cursor = 0
        self._lower_ring(above)
        return True

    def _lower_ring(self, above: int) -> None:
        """Make the ring for cw: from the one for ``above`` when cw is lower, else anew."""
        if self._cw > above:
            self._make_ring()
            return
        groups = self._between(self._cw, above)
        joining = sum(map(len, groups))
        if joining * FEW <= len(self._ring):
            for group in groups:
                for server in group:
                    self._roster.insert(self._ring, server)
        elif joining * FEW <= len(self._usable):
            self._ring = self._roster.merged([self._ring, *groups])
        else:
            self._make_ring()

    def _make_ring(self) -> None:
        """Make the ring for cw of those of few groups, or of all servers, which are sorted."""
        groups = self._between(self._cw, self._mw + self._di)
        if sum(map(len, groups)) * FEW <= len(self._usable):
            self._ring = self._roster.merged(groups)
        else:
            usable, cw = self._usable, self._cw
            self._ring = [each for each in self._roster.servers if usable.get(each, 0) >= cw]
        self._stale = False

    def _between(self, low: int, high: int) -> list[list[Server]]:
        """Return the groups with low <= weight < high."""
        begin, end = bisect_left(self._weights, low), bisect_left(self._weights, high)
        return [self._groups[weight] for weight in self._weights[begin:end]]

    def _enter(self, server: Server) -> None:
        """Let a server of the list be usable."""
        self._own_groups()
        weight = self._usable[server] = server.weight
        group = self._groups.get(weight)
        if group is None:
            self._groups[weight] = group = []
            insort(self._weights, weight)
        self._roster.insert(group, server)
        if weight >= self._cw and not self._stale:
            self._roster.insert(self._ring, server)

    def _leave(self, server: Server) -> None:
        """Let a server of the list not be usable any more."""
        self._own_groups()
        weight = self._usable.pop(server)
        group = self._groups[weight]
        self._roster.discard(group, server)
        if not group:
            del self._groups[weight]
            del self._weights[bisect_left(self._weights, weight)]
        if weight >= self._cw and not self._stale:
            self._roster.discard(self._ring, server)

    def _own_groups(self) -> None:
        """Have groups that the fork has not as well."""
        if self._shares_groups:
            self._groups = {weight: group.copy() for weight, group in self._groups.items()}
            self._weights = self._weights.copy()
            self._shares_groups = False
