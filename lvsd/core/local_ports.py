"""FULLNAT's local side: which local address and port a connection gets.

To a real server all clients behind a local address are one host, so two connections to it must
differ in their port. Towards each real server's endpoint an address has its ports to give once, to
all services together. They are given in turn, from a random one on, and what comes back is given
again as late as possible: the server may still be in TIME_WAIT. To take a port and to give it
back costs O(1), however few are left.

Where none is left, the connection that has been opening for longest gives up its own: a flood of
SYNs would hold all of them otherwise.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from lvsd.core.free_ports import FreePorts, Towards
from lvsd.core.local_pool import without
from lvsd.packet.view import key as make_key
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from forwarders.base import End
    from lvsd.core.connection import Connection
    from lvsd.core.local_pool import LocalPool, Range, Turn

PROBES: Final = 256
"""Ports of a list that are looked at, at most: a list of another range may have given them."""

SPARE_OPENING: Final = 64
"""So many keys of connections that no longer open may a list remember, besides one per port."""


class LocalPorts:
    """All local ports of a director.

    ``find`` finds the connections that there are. An address's ports begin ``first`` above the
    lowest, modulo their number. ``kept`` are ranges that are never given: the host's own.
    """

    def __init__(self, find: Callable[[bytes], Connection | None], first: int) -> None:
        self._find = find
        self._first = first
        self.kept: tuple[Range, ...] = ()
        self._ranges: dict[Range, tuple[Range, ...]] = {}
        self._turns: Counter[bytes] = Counter()
        self.free: dict[Towards, FreePorts] = {}
        """Only where some are given; what would be kept of others, `_turns` knows well enough."""

    def keep(self, kept: tuple[Range, ...]) -> None:
        """Give no port of these ranges from now on: the host itself uses them."""
        self.kept = kept
        self._ranges.clear()

    def take(
        self,
        pool: LocalPool,
        turn: Turn,
        protocol: int,
        real: End,
        owned: Container[bytes] | None,
    ) -> tuple[bytes, FreePorts] | None:
        """Return the key of replies from a real server to a free endpoint, and whose port it is.

        None without a free one. It is to be given back by `give_back`. One endpoint may serve many
        connections, to different real servers. Only addresses in ``owned`` are given (None: all).
        """
        for address in turn.usable(pool, owned):
            towards = Towards(protocol, real, address, pool.low, pool.high)
            free = self.free.get(towards)
            if free is None:
                free = self.free[towards] = self._new(towards)
            key = self._take(free)
            if key is not None:
                self._turns[address] += 1
                return key, free
        return None

    def claim(self, pool: LocalPool, reply_key: bytes) -> FreePorts:
        """Give the local endpoint that replies with this key come to; return whose port it is.

        Raise ValueError if a connection has it.
        """
        if self._find(reply_key) is not None:
            raise ValueError("a connection has this local endpoint")
        free = self.list_of(pool, reply_key)
        free.claim(split_key(reply_key)[1][1])
        return free

    def list_of(self, pool: LocalPool, reply_key: bytes) -> FreePorts:
        """Return whose port the local endpoint is that replies with this key come to."""
        real, (address, _) = split_key(reply_key)
        towards = Towards(reply_key[0], real, address, pool.low, pool.high)
        free = self.free.get(towards)
        if free is None:
            free = self.free[towards] = self._new(towards)
        return free

    def _new(self, towards: Towards) -> FreePorts:
        ranges = self._ranges_of((towards.low, towards.high))
        return FreePorts(towards, ranges, self._first + self._turns[towards.address])

    def _take(self, free: FreePorts) -> bytes | None:
        """Return the key of a free port of a list.

        A list of another range, of a service with other ``local_ports``, may have given it.
        """
        protocol, real, address, _, _ = free.towards
        for _ in range(PROBES):
            port = free.take()
            if port is None:
                break
            key = make_key(protocol, *real, address, port)
            if self._find(key) is None:
                return key
            free.give_back(port)
        self._turns[address] += PROBES
        if not free.given:
            del self.free[free.towards]
        return None

    def opens(self, free: FreePorts, key: bytes) -> None:
        """Note that a connection over a list's port opens; ``key`` is that of its replies."""
        opening = free.opening
        if opening is None:
            opening = free.opening = deque()
        while opening and self._opening(opening[0]) is None:
            opening.popleft()
        if len(opening) > 2 * free.given + SPARE_OPENING:
            opening = free.opening = deque(each for each in opening if self._opening(each))
        opening.append(key)

    def oldest_opening(
        self,
        pool: LocalPool,
        turn: Turn,
        protocol: int,
        real: End,
        owned: Container[bytes] | None,
    ) -> Connection | None:
        """Return the connection whose port is to be given up, so that `take` finds one; or None.

        It is the oldest of one address that is still opening: TCP before ESTABLISHED, UDP of one
        packet.
        """
        for address in turn.usable(pool, owned):
            free = self.free.get(Towards(protocol, real, address, pool.low, pool.high))
            while free and free.opening:
                connection = self._opening(free.opening.popleft())
                if connection is not None:
                    return connection
        return None

    def _opening(self, key: bytes) -> Connection | None:
        """Return the connection whose replies have this key, if it still opens."""
        connection = self._find(key)
        if (
            connection is not None
            and connection.local is not None
            and connection.reply_key == key
            and connection.path.protocol.opening[connection.state]
        ):
            return connection
        return None

    def give_back(self, free: FreePorts, port: int) -> None:
        """Take back a port of a list, of a connection that has ended."""
        free.give_back(port)
        if not free.given:
            self.free.pop(free.towards, None)

    def _ranges_of(self, pool: Range) -> tuple[Range, ...]:
        """Return what a pool's range has, without what is kept."""
        ranges = self._ranges.get(pool)
        if ranges is None:
            ranges = self._ranges[pool] = without(pool, self.kept)
        return ranges
