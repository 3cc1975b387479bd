"""FULLNAT's local side: which local address and port a connection gets, and its first number.

To a real server all clients behind a local address are one host. Two connections must differ in
their port, and one that reuses a port soon must begin above the numbers of the one before: a
server in TIME_WAIT takes a SYN for a new connection only then (RFC 9293, section 3.6.1; RFC 6191
has the other way, by timestamps, which unrelated clients do not offer).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from forwarders.base import End

PORTS: Final = (1025, 65535)
"""The ports that a local address has to give, unless the operator says otherwise."""

PROBES: Final = 1024
"""Ports that are looked at on one address before the next one's turn; it bounds the time."""

TICKS_PER_S: Final = 250_000
"""How fast first numbers grow by themselves: one each 4 us (RFC 9293, section 3.4.1)."""

GAP: Final = 1 << 16
"""A connection begins at least this far above the end of the one before."""

_MODULUS: Final = 1 << 32
_AHEAD: Final = 1 << 31


@dataclass(slots=True)
class LocalPool:
    """The local addresses of one service, packed, taken in turn, and the range of their ports."""

    addresses: tuple[bytes, ...] = ()
    low: int = PORTS[0]
    high: int = PORTS[1]
    turn: int = 0


class LocalPorts:
    """Gives out local endpoints; one may serve many connections, to different real servers.

    How many of an address's ports are taken towards each real server is counted, so that a pool
    without a free one is found without looking at its ports.
    """

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._next: dict[bytes, int] = {}
        self._taken: dict[tuple[End, bytes], int] = {}

    def take(
        self,
        pool: LocalPool,
        real: End,
        owned: Container[bytes] | None,
        is_free: Callable[[bytes, int], bool],
    ) -> End | None:
        """Return an endpoint towards a real server, to be given back by `give_back`; or None.

        Only addresses in ``owned`` are given (None: all); ``is_free`` has the last word on an
        address and port.
        """
        size = pool.high - pool.low + 1
        for _ in pool.addresses:
            address = pool.addresses[pool.turn % len(pool.addresses)]
            pool.turn += 1
            if owned is not None and address not in owned:
                continue
            taken = self._taken.get((real, address), 0)
            if taken >= size:
                continue
            port = self._probe(address, pool, is_free)
            if port is not None:
                self._taken[real, address] = taken + 1
                return address, port
        return None

    def _probe(
        self, address: bytes, pool: LocalPool, is_free: Callable[[bytes, int], bool]
    ) -> int | None:
        """Return the next free port of an address."""
        port = self._next.get(address, pool.low)
        for _ in range(min(PROBES, pool.high - pool.low + 1)):
            if not pool.low <= port <= pool.high:
                port = pool.low
            candidate, port = port, port + 1
            if is_free(address, candidate):
                self._next[address] = port
                return candidate
        self._next[address] = port
        return None

    def give_back(self, real: End, address: bytes) -> None:
        """Take back an endpoint on a local address, of a connection to ``real`` that has ended."""
        key = real, address
        left = self._taken.get(key, 0) - 1
        if left > 0:
            self._taken[key] = left
        else:
            self._taken.pop(key, None)


class SequenceNumbers:
    """First sequence numbers that grow for each pair of a local and a real address.

    ``secret`` makes them hard to guess (RFC 6528). All arithmetic is modulo 2**32.
    """

    __slots__ = ("_last", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._last: dict[tuple[bytes, bytes], int] = {}

    def first(self, local: bytes, real: bytes, now: float) -> int:
        """Return the first number of a new connection at ``now`` (seconds of a steady clock)."""
        pair = local, real
        number = (self._offset(local, real) + int(now * TICKS_PER_S)) % _MODULUS
        last = self._last.get(pair)
        if last is not None and not 0 < (number - last) % _MODULUS < _AHEAD:
            number = (last + GAP) % _MODULUS
        self._last[pair] = number
        return number

    def seen(self, local: bytes, real: bytes, number: int) -> None:
        """Let later connections of this pair begin above ``number``, the last one's end."""
        pair = local, real
        if 0 < (number - self._last.get(pair, number)) % _MODULUS < _AHEAD:
            self._last[pair] = number

    def _offset(self, local: bytes, real: bytes) -> int:
        digest = blake2s(local + real, key=self._secret, digest_size=4).digest()
        return int.from_bytes(digest, "big")
