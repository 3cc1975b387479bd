"""FULLNAT's local side: which local address and port a connection gets, and its first number.

To a real server all clients behind a local address are one host. Two connections must differ in
their port, and one that reuses a port soon must begin above the numbers of the one before: a
server in TIME_WAIT takes a SYN for a new connection only then (RFC 9293, section 3.6.1; RFC 6191
has the other way, by timestamps, which unrelated clients do not offer).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from collections.abc import Container

    from forwarders.base import End

PORTS: Final = (1025, 65535)
"""The ports that a local address has to give, unless the operator says otherwise."""

PROBES: Final = 1024
"""Ports that are looked at on one address before the next one's turn; it bounds the time."""

TICKS_PER_S: Final = 250_000
"""How fast first numbers grow by themselves: one each 4 us (RFC 9293, section 3.4.1)."""

GAP: Final = 64
"""A connection begins at least this far above the end of the one before.

All the ports of an address times this must stay far below 2**31: a port that comes again when all
others have had their turn begins above its old numbers only then.
"""

Towards: TypeAlias = "tuple[int, End, bytes]"
"""Protocol, real server's endpoint, local address."""

_MASK: Final = (1 << 32) - 1
_AHEAD: Final = 1 << 31


@dataclass(slots=True)
class LocalPool:
    """The local addresses of one service, packed, taken in turn, and the range of their ports.

    ``turn`` counts the turns, ``ports`` has the port that each address goes on with. ``taken``
    counts an address's ports that this pool has given towards a real server, per protocol, so that
    a pool without a free one is found without looking at its ports; less may be counted than was
    given.
    """

    addresses: tuple[bytes, ...] = ()
    low: int = PORTS[0]
    high: int = PORTS[1]
    turn: int = 0
    ports: dict[bytes, int] = field(default_factory=dict)
    taken: dict[Towards, int] = field(default_factory=dict)

    def configure(self, other: LocalPool) -> None:
        """Give another one's addresses and ports from now on; what was given stays given."""
        if (self.low, self.high) != (other.low, other.high):
            self.low, self.high = other.low, other.high
            self.ports.clear()
            self.taken.clear()
        self.addresses = other.addresses

    def take(
        self,
        protocol: int,
        real: End,
        owned: Container[bytes] | None,
        taken: Container[bytes],
    ) -> bytes | None:
        """Return the key of replies from a real server to a free endpoint; None without one.

        It is to be given back by `give_back`. One endpoint may serve many connections, to
        different real servers. Only addresses in ``owned`` are given (None: all), and no key that
        is in ``taken``: another pool may have the same endpoints.
        """
        size = self.high - self.low + 1
        for _ in self.addresses:
            address = self.addresses[self.turn % len(self.addresses)]
            self.turn += 1
            if owned is not None and address not in owned:
                continue
            towards = protocol, real, address
            given = self.taken.get(towards, 0)
            if given >= size:
                continue
            port = self.ports.get(address, self.low)
            for _ in range(min(PROBES, size)):
                key = make_key(protocol, *real, address, port)
                port = port + 1 if port < self.high else self.low
                if key not in taken:
                    self.ports[address] = port
                    self.taken[towards] = given + 1
                    return key
            self.ports[address] = port
        return None

    def give_back(self, protocol: int, real: End, address: bytes) -> None:
        """Take back an endpoint on a local address, of a connection to ``real`` that has ended.

        One that another pool gave counts for none: that pool is gone, with the service's former
        self.
        """
        towards = protocol, real, address
        left = self.taken.get(towards, 0) - 1
        if left > 0:
            self.taken[towards] = left
        else:
            self.taken.pop(towards, None)


class SequenceNumbers:
    """First sequence numbers that grow for each pair of a local and a real address.

    ``secret`` makes them hard to guess (RFC 6528). All arithmetic is modulo 2**32.
    """

    __slots__ = ("_pairs", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._pairs: dict[bytes, _Numbers] = {}

    def first(self, reply_key: bytes, now: float) -> int:
        """Return the first number of a new connection at ``now`` (seconds of a steady clock).

        ``reply_key`` is that of its replies, from the real to the local end.
        """
        pair = self._pairs.get(reply_key[1:-4])
        if pair is None:
            digest = blake2s(reply_key[1:-4], key=self._secret, digest_size=4).digest()
            pair = self._pairs[reply_key[1:-4]] = _Numbers(int.from_bytes(digest, "big"))
        number = pair.offset + int(now * TICKS_PER_S) & _MASK
        if pair.last is not None and not 0 < number - pair.last & _MASK < _AHEAD:
            number = pair.last + GAP & _MASK
        pair.last = number
        return number

    def seen(self, reply_key: bytes, number: int) -> None:
        """Let later connections of this pair begin above ``number``, the next of the last one's.

        A server in TIME_WAIT takes no other (RFC 9293, section 3.10.7.4: it is RCV.NXT there).
        """
        pair = self._pairs.get(reply_key[1:-4])
        if pair is not None and pair.last is not None and 0 < number - pair.last & _MASK < _AHEAD:
            pair.last = number


@dataclass(slots=True)
class _Numbers:
    """Of one pair: where it stood when the clock did at 0, and the last first number or end."""

    offset: int
    last: int | None = None
