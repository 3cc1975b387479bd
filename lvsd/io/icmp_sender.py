"""Send ICMP and ICMPv6 messages of our own making: time exceeded, too big, unreachable.

The kernel puts the IP header in front and chooses the source address by its routing table, as
it does for ICMP errors of its own. The ICMPv6 checksum is the kernel's work (RFC 3542 section
3.1), that of ICMP is the caller's. An ICMP error over IPv4 has the precedence of internetwork
control and the type of service of the packet that it is about (RFC 1812, section 4.3.2.5), and no
DF, as one that is lost for being too long helps nobody.

How many are made in the first place is limited by `lvsd.core.icmp_limits`.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.packet.address import text

# The option blocks every type on receipt (raw(7), RFC 3542 section 3.2): these only send.
_FAMILIES: Final = (
    (4, socket.AF_INET, socket.IPPROTO_ICMP, (255, 1, b"\xff" * 4)),
    (16, socket.AF_INET6, socket.IPPROTO_ICMPV6, (socket.IPPROTO_ICMPV6, 1, b"\xff" * 32)),
)
"""Length of an address, family, protocol, and the socket option ICMP_FILTER or ICMP6_FILTER."""

_RATE_LIMITS: Final = {
    4: Path("/proc/sys/net/ipv4/icmp_ratelimit"),
    16: Path("/proc/sys/net/ipv6/icmp/ratelimit"),
}
"""Milliseconds, by the length of an address."""

_IP_MTU_DISCOVER: Final = 10
_PMTUDISC_DONT: Final = 0
_TOS: Final = Struct("=i")
_QUOTED_TOS_AT: Final = 8 + 1
_TOS_MASK: Final = 0x1E
_INTERNET_CONTROL: Final = 0xC0
"""The precedence, 6 (RFC 791, section 3.1)."""


@dataclass(slots=True)
class IcmpStats:
    """What became of the messages, counted from when the sender was opened."""

    sent: int = 0
    failed: int = 0
    """Not sent: no route, buffer full, not open, or whatever else the socket said."""


def target_every_s() -> dict[int, float]:
    """Return how far apart this host's own ICMP errors to one target are, in seconds.

    By the length of the target's address; without an entry where the kernel does not say.
    """
    found: dict[int, float] = {}
    for length, path in _RATE_LIMITS.items():
        with suppress(OSError, ValueError):
            found[length] = int(path.read_text(encoding="ascii")) / 1000
    return found


class IcmpSender:
    """Sends messages, and never waits."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self.stats = IcmpStats()

    def open(self) -> None:
        """Open the sockets. Raise PrivilegeError without CAP_NET_RAW, KernelError otherwise.

        A kernel without IPv6 is no error: there is nobody to send ICMPv6 to.
        """
        try:
            for length, family, protocol, block_all in _FAMILIES:
                try:
                    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
                except OSError as error:
                    if error.errno != errno.EAFNOSUPPORT:
                        raise
                else:
                    self._sockets[length] = sock
                    sock.setsockopt(*block_all)
            if (ipv4 := self._sockets.get(4)) is not None:
                ipv4.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        except PermissionError as error:
            self.close()
            raise PrivilegeError(
                "open a raw ICMP socket", error, "run lvsd as root or with CAP_NET_RAW"
            ) from error
        except OSError as error:
            self.close()
            raise KernelError("open a raw ICMP socket", error, "see socket(2)") from error

    def send(self, message: bytes, to: bytes) -> bool:
        """Send an ICMP error (without IP header) to a packed address; return whether it went.

        Never raises: what fails is counted.
        """
        try:
            self._sockets[len(to)].sendmsg((message,), _options(message, to), 0, (text(to), 0))
        except (OSError, LookupError):
            self.stats.failed += 1
            return False
        self.stats.sent += 1
        return True

    def close(self) -> None:
        """Close the sockets. Harmless when done twice."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _options(message: bytes, to: bytes) -> list[tuple[int, int, bytes]]:
    """Return what the kernel is to write into the IP header of an error."""
    if len(to) != 4 or len(message) <= _QUOTED_TOS_AT:
        return []
    tos = _INTERNET_CONTROL | message[_QUOTED_TOS_AT] & _TOS_MASK
    return [(socket.IPPROTO_IP, socket.IP_TOS, _TOS.pack(tos))]
