"""Draining: a real server loses its clients, and nobody loses a connection before its time.

Weight 0 lets nobody new come, but a persistent client's next connection still goes there, and
nothing ever says that the last one has left. A server that is drained has weight 0 for the
scheduler, whatever is configured, and

- no template of persistence holds there: a client's next connection is scheduled anew;
- a SYN on a connection that is closing or closed is one of those, whatever ``conn_reuse_mode`` is;
- at its deadline, if it has one, the connections that are left end, so many at a time: where lvsd
  knows sequence numbers (FULLNAT) both ends get a RST, else their next packet is answered as one of
  no connection; a datagram opens another one;
- once it has none, that is told (`lvsd.core.drains.Emptied`); it goes on being drained until it is
  taken back, or removed.
"""

from __future__ import annotations

from math import ceil


class Draining:
    """A server that is being drained.

    ``deadline_s`` is how long its connections have, in seconds (None: as long as they like), from
    ``since`` on, which is on the director's clock (None: not before the list of commands is done).
    ``ended`` counts the connections that ended then, ``is_empty`` says that there are none now.
    """

    __slots__ = ("deadline_s", "ended", "is_empty", "is_over", "since")

    def __init__(self, deadline_s: int | None, since: float | None = None) -> None:
        self.deadline_s = deadline_s
        self.since = since
        self.ended = 0
        self.is_empty = False
        self.is_over = False

    def begin(self, now: float) -> None:
        """Let its time begin, if it has not."""
        if self.since is None:
            self.since = now

    @property
    def deadline(self) -> float | None:
        """When its connections end; None: when they like, or the time has not begun."""
        if self.deadline_s is None or self.since is None:
            return None
        return self.since + self.deadline_s

    def left_s(self, now: float) -> int | None:
        """Return the whole seconds up to the deadline, rounded up; None if there is none."""
        deadline = self.deadline
        return self.deadline_s if deadline is None else max(0, ceil(deadline - now))
