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

    ``deadline_s`` is how long its connections have, in seconds (None: as long as they like), and
    ``deadline`` when that is over, on the director's clock, once the list of commands is done.
    ``ended`` counts the connections that ended then, ``is_empty`` says that there are none now.
    """

    __slots__ = ("deadline", "deadline_s", "ended", "is_empty", "is_over")

    def __init__(self, deadline_s: int | None, since: float | None = None) -> None:
        self.deadline_s = deadline_s
        self.deadline: float | None = None
        if since is not None:
            self.begin(since)
        self.ended = 0
        self.is_empty = False
        self.is_over = False

    def begin(self, now: float) -> None:
        """Let the time up to the deadline begin, if there is one that has not."""
        if self.deadline is None and self.deadline_s is not None:
            self.deadline = now + self.deadline_s

    def left_s(self, now: float) -> int | None:
        """Return the whole seconds up to the deadline, rounded up; None if there is none."""
        if self.deadline is None:
            return self.deadline_s
        return max(0, ceil(self.deadline - now))
