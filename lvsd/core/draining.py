"""Draining: a real server gets no new connections, and the existing ones may finish.

Weight 0 alone keeps new clients away, but a persistent client's next connection still goes to the
server, and nothing reports when the last one has left. For the scheduler a drained server has
weight 0, whatever is configured. Besides,

- persistence templates do not apply: a client's next connection is scheduled anew;
- a SYN on a closing or closed connection counts as a new one, whatever ``conn_reuse_mode`` is;
- at its deadline, if it has one, the remaining connections are ended, a limited number at a time.
  Where lvsd knows the sequence numbers (FULLNAT), both ends get a RST. Otherwise the next packet is
  treated as one without a connection; a datagram opens a new one;
- once it is empty, that is reported (`lvsd.core.drains.Emptied`). It stays drained until it is
  undrained or removed.
"""

from __future__ import annotations

from math import ceil


class Draining:
    """The state of a drained server.

    Its connections have ``deadline_s`` seconds (None: no limit) from ``since`` on, which is on the
    director's clock (None: until the list of commands is done). ``ended`` counts the connections
    that the deadline cut short: that were not over by themselves. ``is_empty``: it has none left.
    """

    __slots__ = ("deadline_s", "ended", "is_empty", "is_over", "since")

    def __init__(self, deadline_s: int | None, since: float | None = None) -> None:
        self.deadline_s = deadline_s
        self.since = since
        self.ended = 0
        self.is_empty = False
        self.is_over = False

    def begin(self, now: float) -> None:
        """Start the clock, unless it is running."""
        if self.since is None:
            self.since = now

    @property
    def deadline(self) -> float | None:
        """When the remaining connections end; None: no limit, or the clock is not running."""
        if self.deadline_s is None or self.since is None:
            return None
        return self.since + self.deadline_s

    def left_s(self, now: float) -> int | None:
        """Return the seconds left until the deadline, rounded up; None if there is none."""
        if self.deadline_s is None or self.since is None:
            return self.deadline_s
        # In this order: a float rounds `deadline - now` up beyond the whole time.
        left_s = max(0, ceil(self.deadline_s - (now - self.since)))
        return min(left_s, self.deadline_s)  # a listing's clock may be a tick behind
