"""What the checks over UDP and ICMP have in common: a socket that hears one server only."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, Self

from lvsd.health.base import UnhealthyError

if TYPE_CHECKING:
    from lvsd.health.base import Target

LONGEST: Final = 1 << 16
"""Bytes of a datagram at the most."""

MOST: Final = 64
"""Datagrams that are read for one answer; `loop.sock_recv` waits for nothing in a flood."""

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
"""Linux' <linux/in.h>, <linux/in6.h>: every ICMP error of the destination is told, not just that
of a closed port (ip(7))."""


class Datagrams:
    """A socket of this type and protocol, connected to the target for as long as ``with`` lasts.

    Only datagrams of that address and port arrive, and ICMP errors raise OSError: a closed port,
    ConnectionRefusedError.
    """

    __slots__ = ("_heard", "_loop", "_target", "socket")

    def __init__(
        self, target: Target, kind: int = socket.SOCK_DGRAM, protocol: int = socket.IPPROTO_UDP
    ) -> None:
        family = socket.AF_INET if target.family == 4 else socket.AF_INET6
        self._target = target
        self._heard = 0
        self._loop = asyncio.get_running_loop()
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)

    def __enter__(self) -> Self:
        try:
            if self._target.family == 4:
                self.socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            else:
                self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            self.socket.connect((self._target.address, self._target.port))
        except BaseException:
            self.socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send a datagram. Raise OSError."""
        self.socket.send(data)

    async def receive(self) -> bytes:
        """Return the next datagram. Raise OSError; UnhealthyError after `MOST` of them."""
        if self._heard == MOST:
            raise UnhealthyError(f"{MOST} datagrams, and no answer among them")
        self._heard += 1
        return await self._loop.sock_recv(self.socket, LONGEST)
