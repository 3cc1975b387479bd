"""Sockets that receive tunnelled packets: raw ones for IP in IP and GRE, UDP ones for GUE.

The kernel puts fragments together before any of them sees a packet, and its firewall's input
chain is passed before. That somebody listens also keeps it from answering the director that the
protocol is unreachable.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.errors import KernelError, PrivilegeError
from lvsd.realserver.decapsulation import Carrier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.realserver.ends import TunnelEnd

_IPV6_RECVTCLASS: Final = 66
_UDP_NO_CHECK6_RX: Final = 102
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")
_DROPS: Final = 8
_RECEIVE_BUFFER: Final = 8 << 20
_ANCILLARY: Final = 64
_BUFFER: Final = bytearray(1 << 17)
_VIEW: Final = memoryview(_BUFFER)

_TOS_OF: Final = {
    (socket.IPPROTO_IP, socket.IP_TOS),
    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
}


class Outer(NamedTuple):
    """A tunnelled packet: the outer header's source and DSCP/ECN byte, and what follows it."""

    source: bytes
    tos: int
    payload: bytes


class Receiver:
    """One socket, for one carrier over one IP version."""

    def __init__(self, carrier: Carrier, family: socket.AddressFamily, port: int = 0) -> None:
        """Open it. Raise OSError."""
        self.carrier = carrier
        self._family = family
        self._headed = carrier != Carrier.GUE and family == socket.AF_INET
        if carrier == Carrier.GUE:
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        else:
            self.socket = socket.socket(family, socket.SOCK_RAW, carrier)
        try:
            self._prepare(port)
        except OSError:
            self.socket.close()
            raise

    def receive(self) -> Outer | None:
        """Return the next packet, None when there is none. Raise nothing that a packet causes."""
        try:
            length, ancillary, _, sender = self.socket.recvmsg_into([_BUFFER], _ANCILLARY)
        except OSError:  # none, or an ICMP error that came for this socket
            return None
        if self._headed:
            header = (_BUFFER[0] & 0x0F) << 2
            return Outer(bytes(_VIEW[12:16]), _BUFFER[1], bytes(_VIEW[header:length]))
        tos = 0
        for level, kind, value in ancillary:
            if (level, kind) in _TOS_OF:
                tos = value[0] if len(value) == 1 else int.from_bytes(value, "little") & 0xFF
        source = socket.inet_pton(self._family, sender[0].partition("%")[0])
        return Outer(source, tos, bytes(_VIEW[:length]))

    def lost(self) -> int:
        """Return how many packets the socket had no room for."""
        values = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(values)[_DROPS])

    def _prepare(self, port: int) -> None:
        self.socket.setblocking(False)
        with suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        if self._family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
        if self.carrier != Carrier.GUE:
            return
        if self._family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.socket.bind(("", port))


def receivers(ends: Iterable[TunnelEnd], port: int) -> list[Receiver]:
    """Open a socket for each tunnel's end; ``port`` is GUE's. Raise KernelError, PrivilegeError."""
    opened: list[Receiver] = []
    for end in ends:
        try:
            opened.append(Receiver(end.carrier, end.family, port))
        except OSError as error:
            for receiver in opened:
                receiver.socket.close()
            raise _refusal(f"receive {end}", error, port) from error
    return opened


def _refusal(operation: str, error: OSError, port: int) -> KernelError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(operation, error, "run as root or with CAP_NET_RAW")
    if error.errno == errno.EADDRINUSE:
        remedy = f"see who has UDP port {port}, such as by `ss -lunp sport = :{port}`"
        return KernelError(operation, error, remedy)
    return KernelError(operation, error, "see whether the kernel has raw sockets")
