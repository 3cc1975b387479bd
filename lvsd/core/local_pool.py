"""The local addresses of a FULLNAT service, and the ports that they have to give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

Range: TypeAlias = "tuple[int, int]"
"""The lowest and the highest port."""

PORTS: Final = (1025, 65535)
"""The ports that a local address has to give, unless the operator says otherwise."""


class LocalPool(NamedTuple):
    """The local addresses of one service, packed, and the range of their ports."""

    addresses: tuple[bytes, ...] = ()
    low: int = PORTS[0]
    high: int = PORTS[1]

    @property
    def ports(self) -> Range:
        """The range."""
        return self.low, self.high


@dataclass(slots=True)
class Turn:
    """Which address of a service's pool comes next; the pool may be another each time."""

    number: int = 0

    def usable(self, pool: LocalPool, owned: Container[bytes] | None) -> Iterator[bytes]:
        """Yield the addresses that are in ``owned`` (None: all), the next in turn first."""
        addresses = pool.addresses
        for _ in addresses:
            address = addresses[self.number % len(addresses)]
            self.number += 1
            if owned is None or address in owned:
                yield address


def without(whole: Range, parts: tuple[Range, ...]) -> tuple[Range, ...]:
    """Return the ranges that are left of one without others, in order."""
    at, end = whole
    left = []
    for low, high in sorted(parts):
        if at < low <= end:
            left.append((at, low - 1))
        if low <= end:
            at = max(at, high + 1)
    if at <= end:
        left.append((at, end))
    return tuple(left)
