"""Slow start: a real server that comes back gets its weight bit by bit.

A server that is added to a service which has others, or comes back (undrained, or given a weight
again), has empty caches and no connections. With ``slow_start_s`` it begins with a hundredth of its
weight, and has all of it after that time; the part that it has grows linearly. How a scheduler is
to be told of a part of a weight it says itself (`schedulers.base.SlowStart`):

========  ==========================================================================================
turns     it sees the whole weight, and the server lets turns pass: of a hundred it takes as many as
          the part has hundredths (rr, wrr). In the weights, wrr would hide it for whole rounds
shares    all weights of the service are multiplied by `SCALE`, at all times, so that a weight of 1
          has parts; nothing else depends on more than how they compare (wlc, sed, nq)
weights   the weight itself grows, by whole numbers from 1 on: one of 1 has no parts
none      nothing: no weight is looked at (lc), or it says which clients are whose (sh, mh, dh, fo),
          and these would go from server to server at each step
========  ==========================================================================================

nginx and Envoy know slow start with round robin and least connections alone, HAProxy with those
whose weights can change; all of them have it begin anew with each return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schedulers.base import SlowStart

SCALE: Final = 100
"""What weights are multiplied by where only their shares count."""

LEAST: Final = 0.01
"""The part of its weight that a server begins with."""

PASSES: Final = 61
"""Turns that may pass for one connection: then the last one is taken, as all others may be full, or
begin slowly, too. It is odd, so that two servers that begin together take turns."""


class Ramp:
    """How far a server is on its way to its weight.

    ``part`` is what it has of it, ``since`` when it began, on the director's clock (None: with the
    end of the list of commands), ``credit`` what it has of the next turn that it takes.
    """

    __slots__ = ("credit", "part", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.part = LEAST
        self.credit = 0.0

    def takes_turn(self) -> bool:
        """Whether the server takes the turn that it has, or lets it pass."""
        self.credit += self.part
        if self.credit < 1.0:
            return False
        self.credit -= 1.0
        return True


class Easing(NamedTuple):
    """How a service lets a server begin: as its scheduler takes it, over so many seconds."""

    by: SlowStart
    over_s: int

    @property
    def is_wanted(self) -> bool:
        """Whether it does anything."""
        return self.over_s > 0 and self.by != "none"

    @property
    def scale(self) -> int:
        """What the service's weights are multiplied by."""
        return SCALE if self.over_s and self.by == "shares" else 1

    def weight(self, configured: int, ramp: Ramp | None) -> int:
        """Return the weight that the scheduler is to see; one above 0 stays so."""
        if ramp is None and not self.over_s:
            return configured
        whole = configured * self.scale
        if ramp is None or not whole or self.by in {"turns", "none"}:
            return whole
        return max(1, int(whole * ramp.part))

    def effect(self, weight: int, ramp: Ramp | None) -> float:
        """Return what a server has of its configured weight, of the one that a scheduler sees."""
        if not self.over_s:
            return weight
        part = ramp.part if ramp is not None and self.by == "turns" else 1.0
        return round(weight * part / self.scale, 2)
