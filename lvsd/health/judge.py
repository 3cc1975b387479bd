"""Many results of one server's check, and what they mean: the server is up, or down.

``fall`` bad results in a row take a server down, ``rise`` good ones bring it up again. The first
result of all decides by itself: a server that is down when lvsd starts gets no clients for as long
as it would take to count.

A server that falls again soon after it rose is flapping. Each such fall doubles the good results
that it needs, up to 32 times ``rise``; one that stayed up for `CALM_S` before it falls begins anew.
So a server that is well half of the time stays out, and one that crashes once is back at once
(a simpler form of BGP's route flap damping, RFC 2439).

No clock here: ``now`` is in seconds, on whatever clock the caller has.
"""

from __future__ import annotations

from typing import Final

CALM_S: Final = 300.0
"""A server that was up for so long, in seconds, is not flapping when it falls."""

MOST_FLAPS: Final = 5
"""After so many falls in quick succession the good results that are needed double no more."""


class Judge:
    """What is known of one server.

    ``is_up`` is the judgement, True before the first result. ``since`` is when it last changed, or
    began. ``in_a_row`` counts the last results that all say the same, good or bad as ``is_good``
    (None: there was none). ``flaps`` counts falls in quick succession, beyond the first.
    """

    __slots__ = ("_fall", "_has_risen", "_rise", "flaps", "in_a_row", "is_good", "is_up", "since")

    def __init__(self, fall: int, rise: int, now: float, *, is_up: bool = True) -> None:
        self._fall = fall
        self._rise = rise
        self.is_up = is_up
        self.since = now
        self.is_good: bool | None = None
        self.in_a_row = 0
        self.flaps = 0
        self._has_risen = False

    @property
    def needed(self) -> int:
        """How many results in a row change the judgement, counted from the first of them."""
        if self.is_good is None:
            return 1
        return self._fall if self.is_up else self._rise << self.flaps

    @property
    def is_changing(self) -> bool:
        """Whether the last results speak against the judgement, and are too few."""
        return self.is_good is not None and self.is_good is not self.is_up

    def change_rules(self, fall: int, rise: int) -> None:
        """Let other numbers of results decide from now on."""
        self._fall, self._rise = fall, rise

    def take(self, *, is_good: bool, now: float) -> bool:
        """Take in a result; return whether the server is up now and was down, or the reverse."""
        needed = self.needed
        self.in_a_row = self.in_a_row + 1 if is_good is self.is_good else 1
        self.is_good = is_good
        if is_good is self.is_up or self.in_a_row < needed:
            return False
        if not is_good:
            soon = now - self.since < CALM_S and self._has_risen
            self.flaps = min(self.flaps + 1, MOST_FLAPS) if soon else 0
        self._has_risen = is_good
        self.is_up = is_good
        self.since = now
        return True
