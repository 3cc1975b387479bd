"""The weights that a service's servers have: the highest, and the greatest common divisor of all.

wrr and mh go by both. Worked out of all servers at each change, they would cost a millisecond for
ten thousand; here a change costs a few steps, and a look at all weights that there are where the
divisor may have grown.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from copy import copy
from math import gcd
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from schedulers.base import Server


class Weights:
    """The weights above 0 of servers. ``divisor`` is the gcd of all, 1 if there are none."""

    def __init__(self) -> None:
        self.divisor = 1
        self._of: dict[Server, int] = {}
        self._numbers: dict[int, int] = {}
        self._levels: list[int] = []
        """The keys of ``_numbers``, ascending."""

    def fork(self) -> Self:
        """Return the same, which goes on by itself."""
        forked = copy(self)
        self._of, self._numbers = self._of.copy(), self._numbers.copy()
        self._levels = self._levels.copy()
        return forked

    @property
    def highest(self) -> int:
        """The highest weight, 0 if there are none."""
        return self._levels[-1] if self._levels else 0

    def put(self, server: Server, weight: int) -> None:
        """Let a server have this weight, and none any more where that is 0 or less."""
        before = self._of.pop(server, 0)
        if before:
            self._numbers[before] -= 1
        if weight > 0:
            self._of[server] = weight
            self._count(weight)
        if before and not self._numbers[before]:
            del self._numbers[before]
            del self._levels[bisect_left(self._levels, before)]
            self.divisor = self._divisor()

    def _count(self, weight: int) -> None:
        if weight in self._numbers:
            self._numbers[weight] += 1
            return
        self.divisor = gcd(self.divisor, weight) if self._levels else weight
        self._numbers[weight] = 1
        insort(self._levels, weight)

    def _divisor(self) -> int:
        """Return the divisor, a multiple of what it was: mostly the first few weights tell."""
        divisor = 0
        for weight in self._levels:
            divisor = gcd(divisor, weight)
            if divisor == self.divisor:
                break
        return divisor or 1
