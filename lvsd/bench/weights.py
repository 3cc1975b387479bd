"""The weights of the servers, as typed after ``--weights``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lvsd.bench.chance import lots
from lvsd.errors import UsageError

HEAVIEST: Final = 65535
"""As ipvsadm has it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """``text`` as typed; either a range to draw from, or a pattern to repeat."""

    text: str
    least: int = 0
    most: int = 0
    pattern: tuple[int, ...] = ()

    def deal(self, servers: int, seed: int) -> list[int]:
        """Return so many weights; random ones differ from seed to seed."""
        if self.pattern:
            return list(self.pattern) * (servers // len(self.pattern))
        chance = lots("weights", seed)
        return [chance.randint(self.least, self.most) for _ in range(servers)]

    def fit(self, servers: int) -> bool:
        """Tell whether a pattern goes into this number of servers without a rest."""
        return not self.pattern or servers % len(self.pattern) == 0


def parse(text: str) -> Weights:
    """Return what ``5``, ``1-10`` or ``3,2,1`` says. Raise UsageError."""
    spread = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)
    if spread:
        least, most = int(spread[1]), int(spread[2])
        if not 1 <= least <= most <= HEAVIEST:
            raise _wrong(text)
        return Weights(text, least=least, most=most)
    words = text.split(",")
    if not all(re.fullmatch(r"\d{1,6}", word) for word in words):
        raise _wrong(text)
    pattern = tuple(map(int, words))
    if not all(1 <= weight <= HEAVIEST for weight in pattern):
        raise _wrong(text)
    return Weights(text, pattern=pattern)


def check_fit(weights: Weights, servers: list[int]) -> None:
    """Raise UsageError for the first number of servers that a pattern does not go into."""
    for count in servers:
        if not weights.fit(count):
            length = len(weights.pattern)
            fitting = max(length, count - count % length)
            raise UsageError(
                f"--weights {weights.text}: a pattern of {length} weights does not fit {count}"
                f" servers; --servers takes multiples of {length} with it ({fitting}, say),"
                " or give a range such as 1-10"
            )


def _wrong(text: str) -> UsageError:
    return UsageError(
        f"--weights {text!r}: neither one weight (5), nor a range to draw from (1-10),"
        f" nor a pattern to repeat (3,2,1); weights are 1 to {HEAVIEST}"
    )
