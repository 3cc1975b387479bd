"""Send whole IP packets by raw sockets: what leaves the director without going back to the queue.

The kernel routes each packet by its destination and its source, and the source may be an address
that is not the host's (a VIP, IP_FREEBIND). Every packet carries `SENT_MARK`, by which the ruleset
tells it from what local programs send (`lvsd.io.ruleset`). Checksums above IP are the caller's; in
IPv4 the kernel writes the header's checksum, and an identification where that is 0 (raw(7)).

The sockets have IP_MTU_DISCOVER at PROBE: the kernel neither cuts a packet nor remembers path
MTUs; what does not fit the interface comes back with the MTU. A route's own, smaller MTU is not
looked at. Nothing is ever received: a filter drops all that would be.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.io.ruleset import SENT_MARK

_SO_ATTACH_FILTER: Final = 26
_SO_SNDBUFFORCE: Final = 32
_IP_FREEBIND, _IP_MTU_DISCOVER, _IP_PKTINFO = 15, 10, 8
_IPV6_FREEBIND, _IPV6_MTU_DISCOVER, _IPV6_PKTINFO = 78, 23, 50
_IP_MTU, _IPV6_MTU = 14, 24
_PMTUDISC_PROBE: Final = 3
_DISCARD: Final = 9
_SEND_BUFFER: Final = 1 << 20
"""Bytes that may wait for the interface: as much as a turn of the queue's longest packets."""

_IN_PKTINFO: Final = struct.Struct("=i4s4x")  # interface index, source, padding
_IN6_PKTINFO: Final = struct.Struct("=16si")  # source, interface index
_SOCK_FILTER: Final = struct.pack("=HBBI", 6, 0, 0, 0)  # BPF_RET | BPF_K, 0: drop
_HEADERS: Final = {4: 20, 6: 40}
_REMEMBERED: Final = 1024


@dataclass(slots=True)
class PacketStats:
    """What became of the packets, counted from when the sender was opened."""

    sent: int = 0
    too_long: int = 0
    """Given back to the caller: longer than the MTU of the way."""
    failed: int = 0
    """Not sent, each by the errno in `PacketSender.errors`."""


class PacketSender:
    """Sends IP packets, IPv4 and IPv6; never waits."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._mtus: dict[bytes, int] = {}
        self.stats = PacketStats()
        self.errors: Counter[str] = Counter()
        """Name of the errno -> packets. EPERM: a rule of the operator's in hook output."""

    def open(self) -> None:
        """Open the sockets. Raise PrivilegeError without CAP_NET_RAW, KernelError otherwise.

        A kernel without IPv6 is no error: there is nobody to send to.
        """
        try:
            self._sockets[4] = _socket(socket.AF_INET, _IP_FREEBIND, _IP_MTU_DISCOVER)
            try:
                self._sockets[6] = _socket(socket.AF_INET6, _IPV6_FREEBIND, _IPV6_MTU_DISCOVER)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
        except PermissionError as error:
            self.close()
            raise PrivilegeError(
                "open a raw socket", error, "run lvsd as root or with CAP_NET_RAW"
            ) from error
        except OSError as error:
            self.close()
            raise KernelError("open a raw socket", error, "see socket(2)") from error

    def close(self) -> None:
        """Close the sockets. Harmless when done twice."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def refresh(self) -> None:
        """Forget what was learned of routes and links: they changed."""
        self._mtus.clear()

    def send(self, data: bytes) -> int:
        """Send a packet that begins at its IP header.

        Return 0 when it went, or cannot ever; the MTU of its way in bytes when it is longer.
        Never raises: what fails is counted.
        """
        version = data[0] >> 4 if data else 0
        if len(data) < _HEADERS.get(version, len(data) + 1):
            return self._failed(errno.EINVAL)
        try:
            if version == 4:
                destination = data[16:20]
                self._sockets[4].sendmsg(
                    (data,),
                    ((socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(0, data[12:16])),),
                    0,
                    (socket.inet_ntop(socket.AF_INET, destination), 0),
                )
            else:
                destination = data[24:40]
                self._sockets[6].sendmsg(
                    (data,),
                    ((socket.IPPROTO_IPV6, _IPV6_PKTINFO, _IN6_PKTINFO.pack(data[8:24], 0)),),
                    0,
                    (socket.inet_ntop(socket.AF_INET6, destination), 0),
                )
        except LookupError:
            return self._failed(errno.EAFNOSUPPORT)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                return self._failed(error.errno)
            return self._too_long(destination, len(data))
        self.stats.sent += 1
        return 0

    def _too_long(self, destination: bytes, length: int) -> int:
        """Return the MTU towards ``destination``; 0 and count when it does not explain the refusal.

        Less than ``length`` in any case, so that whoever cuts a packet by it makes progress.
        """
        mtu = self._mtus.get(destination) or _mtu(destination)
        if len(self._mtus) >= _REMEMBERED:
            self._mtus.clear()
        self._mtus[destination] = mtu
        if not 0 < mtu < length:
            return self._failed(errno.EMSGSIZE)
        self.stats.too_long += 1
        return mtu

    def _failed(self, number: int | None) -> int:
        self.stats.failed += 1
        self.errors[errno.errorcode.get(number or 0, str(number))] += 1
        return 0


def drop_all_input(sock: socket.socket) -> None:
    """Let nothing arrive at a socket that only sends. Raise OSError.

    Whatever had its protocol number would else fill its buffer, and keep the memory.
    """
    code = ctypes.create_string_buffer(_SOCK_FILTER, len(_SOCK_FILTER))
    program = struct.pack("@HP", 1, ctypes.addressof(code))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def widen_send_buffer(sock: socket.socket) -> None:
    """Let as many packets wait for the interface as come in one turn. Raise OSError."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def _socket(family: socket.AddressFamily, freebind: int, mtu_discover: int) -> socket.socket:
    """Return a raw socket that takes packets with their headers (IPPROTO_RAW, raw(7))."""
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    try:
        drop_all_input(sock)
        widen_send_buffer(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SENT_MARK)
        sock.setsockopt(level, freebind, 1)
        sock.setsockopt(level, mtu_discover, _PMTUDISC_PROBE)
    except OSError:
        sock.close()
        raise
    return sock


def _mtu(destination: bytes) -> int:
    """Return the MTU towards an address, 0 if nobody knows.

    What the kernel says of a connected UDP socket, which has sent nothing (IP_MTU in ip(7)): a
    look-up costs as much as sending a packet, and never waits, as netlink does while somebody else
    changes the network. What ICMP said of the path counts, too.
    """
    ipv4 = len(destination) == 4
    family = socket.AF_INET if ipv4 else socket.AF_INET6
    level, option = (socket.IPPROTO_IP, _IP_MTU) if ipv4 else (socket.IPPROTO_IPV6, _IPV6_MTU)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SENT_MARK)
            probe.connect((socket.inet_ntop(family, destination), _DISCARD))
            return probe.getsockopt(level, option)
    except OSError:
        return 0
