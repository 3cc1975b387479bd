"""Slow start: a returning real server gets its weight bit by bit.

A server that joins a service with other servers, or returns (undrained, or with a weight again),
has empty caches and no connections. With ``slow_start_s`` it starts with a hundredth of its weight
and reaches the whole weight after that time, linearly. Each scheduler says in what way it can deal
with a part of a weight (`schedulers.base.SlowStart`):

========  ==========================================================================================
turns     it sees the whole weight, and the server passes on turns: at a part of 30 % it takes 30 of
          100 (rr, wrr). With small weights instead, wrr would skip the server for whole rounds
shares    all weights of the service are multiplied by `SCALE`, at all times, so that a weight of 1
          can grow in steps; only the ratios of the weights matter (wlc, sed, nq)
weights   the weight itself grows in whole numbers, from 1 on: a weight of 1 cannot grow
none      there is no slow start: the scheduler ignores weights (lc), or weights decide which
          clients belong to which server (sh, mh, dh, fo), and each step would move clients
========  ==========================================================================================

nginx and Envoy offer slow start for round robin and least connections only, HAProxy for algorithms
with dynamic weights. In all of them it begins anew with each return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schedulers.base import SlowStart

SCALE: Final = 100
"""The factor for weights where only their ratios matter."""

LEAST: Final = 0.01
"""The part of its weight that a server starts with."""

PASSES: Final = 61
"""How many turns servers may pass on for one connection. Then the last one has to take it, as all
others may be full or in slow start, too. It is odd, so that two servers that start together
alternate."""


class Ramp:
    """A server's progress towards its whole weight.

    ``part`` is the part of the weight that it has, ``since`` when it started, on the director's
    clock (None: once the list of commands is done), ``credit`` how much of a turn it has saved up.
    """

    __slots__ = ("credit", "part", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.part = LEAST
        self.credit = 0.0

    def takes_turn(self) -> bool:
        """Whether the server takes this turn, or passes."""
        self.credit += self.part
        if self.credit < 1.0:
            return False
        self.credit -= 1.0
        return True


class Easing(NamedTuple):
    """A service's slow start: in what way its scheduler can do it, and over how many seconds."""

    by: SlowStart
    over_s: int

    @property
    def is_wanted(self) -> bool:
        """Whether there is any slow start."""
        return self.over_s > 0 and self.by != "none"

    @property
    def scale(self) -> int:
        """The factor for the service's weights."""
        return SCALE if self.over_s and self.by == "shares" else 1

    def weight(self, configured: int, ramp: Ramp | None) -> int:
        """Return the weight for the scheduler; one above 0 stays above 0."""
        if ramp is None and not self.over_s:
            return configured
        whole = configured * self.scale
        if ramp is None or not whole or self.by in {"turns", "none"}:
            return whole
        return max(1, int(whole * ramp.part))

    def effect(self, weight: int, ramp: Ramp | None) -> float:
        """Return how much of its weight a server has now; ``weight`` is what the scheduler sees."""
        if not self.over_s:
            return weight
        part = ramp.part if ramp is not None and self.by == "turns" else 1.0
        return round(weight * part / self.scale, 2)
