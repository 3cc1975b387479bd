"""FULLNAT's local side: which local address and port a connection gets.

To a real server all clients behind a local address are one host, so two connections to it must
differ in their port.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from collections.abc import Container

    from forwarders.base import End

PORTS: Final = (1025, 65535)
"""The ports that a local address has to give, unless the operator says otherwise."""

PROBES: Final = 1024
"""Ports that are looked at on one address before the next one's turn; it bounds the time."""

Towards: TypeAlias = "tuple[int, End, bytes]"
"""Protocol, real server's endpoint, local address."""


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
        first: int = 0,
    ) -> bytes | None:
        """Return the key of replies from a real server to a free endpoint; None without one.

        It is to be given back by `give_back`. One endpoint may serve many connections, to
        different real servers. Only addresses in ``owned`` are given (None: all), and no key that
        is in ``taken``: another pool may have the same endpoints. An address's ports begin
        ``first`` above the lowest, modulo their number.
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
            port = self.ports.get(address, self.low + first % size)
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
