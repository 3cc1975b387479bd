"""The ports that are free towards one real server."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forwarders.base import End
    from lvsd.core.local_pool import Range


class Towards(NamedTuple):
    """What ports are free towards: a local address's of a range, to a real server's endpoint."""

    protocol: int
    real: End
    address: bytes
    low: int
    high: int


class FreePorts:
    """The ports that are free towards one real server.

    Those that were never given come first, then those that came back first. ``given`` counts what
    is out. ``opening`` has the keys of connections in the order that they began to open; some of
    them no longer do.
    """

    __slots__ = (
        "_claimed",
        "_first",
        "_fresh",
        "_ranges",
        "_returned",
        "_size",
        "given",
        "opening",
        "towards",
    )

    def __init__(self, towards: Towards, ranges: tuple[Range, ...], first: int) -> None:
        self.towards = towards
        self._ranges = ranges
        self._size = self._fresh = sum(high - low + 1 for low, high in ranges)
        self._first = first
        self._returned: deque[int] | None = None
        self._claimed: set[int] = set()
        self.given = 0
        self.opening: deque[bytes] | None = None

    def take(self) -> int | None:
        """Return a free port, None if all are given."""
        while self._fresh:
            number = (self._first - self._fresh) % self._size
            self._fresh -= 1
            port = self._port(number)
            if port not in self._claimed:
                self.given += 1
                return port
            self._claimed.remove(port)  # its turn is over: it comes back like any other
        if not self._returned:
            return None
        self.given += 1
        return self._returned.popleft()

    def claim(self, port: int) -> None:
        """Give a certain port that no connection has.

        One that is none of these is given all the same: the operator has changed the range since.
        """
        self.given += 1
        if self._returned and port in self._returned:
            self._returned.remove(port)
        else:
            self._claimed.add(port)

    def claim_fresh(self, ports: Iterable[int]) -> None:
        """Give certain ports that no connection has, of a list that has given none back."""
        before = len(self._claimed)
        self._claimed.update(ports)
        self.given += len(self._claimed) - before

    def note_opening(self, key: bytes) -> None:
        """Note that a connection opens whose replies have this key."""
        if self.opening is None:
            self.opening = deque()
        self.opening.append(key)

    def give_back(self, port: int) -> None:
        """Take back a port that was given."""
        self.given -= 1
        if port in self._claimed:
            self._claimed.remove(port)  # its turn is still to come
            return
        if self._returned is None:
            self._returned = deque()
        self._returned.append(port)

    def _port(self, number: int) -> int:
        """Return a port by its number among those of all ranges."""
        for low, high in self._ranges:
            if number <= high - low:
                return low + number
            number -= high - low + 1
        raise IndexError(number)
