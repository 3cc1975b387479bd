"""The bytes of a SYN and of the RST that takes it back, and what an answer says. Pure.

A SYN's sequence number is made of our identifier and the question's number, and whoever
answers acknowledges it (RFC 9293, section 3.10.7): so answers from one virtual endpoint are told
apart by the real server that they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.snapshot import ETHERNET, Handshake
from lvsd.packet.build import TTL, ip_packet, tcp_segment
from lvsd.packet.layout import LAYOUTS, LEAST_BYTES, TCP_HEADER
from lvsd.packet.numbers import TCP, TcpFlag
from lvsd.packet.tcp_options import MSS, MSS_BYTES, options
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from lvsd.doctor.snapshot import Syn

HEADERS: Final = {layout.width: layout.length + LEAST_BYTES[TCP] for layout in LAYOUTS.values()}
"""Length of an address -> bytes of IP's and TCP's headers, which an MSS does not count."""

_DEFAULT_MSS: Final = {4: 536, 6: 1220}
"""IP version -> what it is where none is announced (RFC 9293, section 3.7.1)."""

_NEAR_HOPS: Final = 2
"""For a frame to a neighbour, and a container on it. A router that has not the virtual address
would send the SYN back to the director, which would open a connection for it."""

_WINDOW: Final = 64240
_ACCEPT: Final = TcpFlag.SYN | TcpFlag.ACK


def syn(asked: Syn, port: int, identifier: int, number: int) -> bytes:
    """Return the SYN from our port; its MSS is that of Ethernet."""
    mss = ETHERNET - HEADERS[len(asked.source)]
    option = bytes((MSS, MSS_BYTES)) + mss.to_bytes(2, "big")
    return _segment(asked, port, identifier << 16 | number, TcpFlag.SYN, option)


def reset(asked: Syn, port: int, identifier: int, number: int) -> bytes:
    """Return the RST that closes what this SYN has opened (RFC 9293, section 3.5.2)."""
    return _segment(asked, port, (identifier << 16 | number) + 1 & 0xFFFFFFFF, TcpFlag.RST)


def told(data: bytes, port: int, identifier: int) -> tuple[int, Handshake] | None:
    """Return the number of our SYN and what a packet answers it; None: it answers none."""
    packet = Packet()
    if packet.load(data) is not None or packet.protocol != TCP or packet.fragment:
        return None
    if packet.destination_port != port or not packet.flags & TcpFlag.ACK:
        return None
    _, _, _, acknowledged, *_ = TCP_HEADER.unpack_from(data, packet.l4)
    whose, number = divmod(acknowledged - 1 & 0xFFFFFFFF, 1 << 16)
    if whose != identifier:
        return None
    if packet.flags & TcpFlag.RST:
        return number, Handshake(accepted=False)
    if packet.flags & _ACCEPT != _ACCEPT:
        return None
    return number, Handshake(accepted=True, mss=_mss(packet))


def _mss(packet: Packet) -> int:
    """Return the MSS that a SYN announces."""
    for kind, at, length in options(packet):
        if (kind, length) == (MSS, MSS_BYTES):
            return int.from_bytes(packet.data[at + 2 : at + MSS_BYTES], "big")
    return _DEFAULT_MSS[packet.version]


def _segment(asked: Syn, port: int, sequence: int, flags: TcpFlag, option: bytes = b"") -> bytes:
    source, destination = (asked.source, port), (asked.destination, asked.port)
    segment = tcp_segment(source, destination, flags, sequence, window=_WINDOW, options=option)
    hops = _NEAR_HOPS if asked.neighbour else TTL
    return ip_packet(asked.source, asked.destination, TCP, segment, ttl=hops)
