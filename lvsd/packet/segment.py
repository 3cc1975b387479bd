"""A packet that is put together anew header by header: what the layers of a translation change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet import tcp_header
from lvsd.packet.exchange import assemble
from lvsd.packet.layout import ACK_AT, FLAGS_AT, IPV4, LEAST_BYTES, OFFSET_AT, SEQ_AT
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.tcp_options import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.packet.view import Packet

_LEAST_TCP: Final = LEAST_BYTES[TCP]
_LEAST_UDP: Final = LEAST_BYTES[UDP]


class Segment:
    """A segment of TCP, whole, that is not a fragment.

    ``packet``   as it came
    ``header``   the TCP header as it is to leave; ``size`` is how long it was
    ``found``    the options in the header as it came, as `options` finds them
    ``payload``  in place of the packet's; None: that one
    ``seq``      its sequence number, ``ack`` its acknowledgement, as they are to leave
    ``flags``    as they came
    """

    __slots__ = ("ack", "flags", "found", "header", "packet", "payload", "seq", "size")

    def __init__(self, packet: Packet) -> None:
        data, l4 = packet.data, packet.l4
        self.packet = packet
        self.size = size = data[l4 + OFFSET_AT] >> 4 << 2
        self.header = header = bytearray(data[l4 : l4 + size])
        self.found: tcp_header.Found = options(packet) if size > _LEAST_TCP else []
        self.seq = int.from_bytes(header[SEQ_AT : SEQ_AT + 4], "big")
        self.ack = int.from_bytes(header[ACK_AT : ACK_AT + 4], "big")
        self.flags = packet.flags
        self.payload: bytes | None = None

    @property
    def carries(self) -> bool:
        """Whether there is data in it as it came."""
        return self.packet.end > self.packet.l4 + self.size

    def renumber(self, seq: int, ack: int) -> None:
        """Give it other numbers."""
        self.seq = seq
        self.ack = ack
        self.header[SEQ_AT : SEQ_AT + 4] = seq.to_bytes(4, "big")
        self.header[ACK_AT : ACK_AT + 4] = ack.to_bytes(4, "big")

    def move_sack(self, move: Callable[[int], int]) -> None:
        """Map the edges of its SACK blocks."""
        tcp_header.move_sack(self.header, self.found, self.packet.l4, move)

    def ahead(self, seq: int, payload: bytes, *, without: int, flags: int) -> Segment:
        """Return a segment to go ahead of it, with other data, and flags taken away and added."""
        other = Segment(self.packet)
        other.header = self.header.copy()
        other.renumber(seq, self.ack)
        other.header[FLAGS_AT] = other.header[FLAGS_AT] & ~without | flags
        other.payload = payload
        return other

    def assembled(self, ends: bytes) -> bytes:
        """Return the packet as it leaves, between other ends, its TTL one less."""
        return assemble(self.packet, ends, self.header, self.payload, old_length=self.size)


class Datagram:
    """A datagram of UDP, whole, that is not a fragment.

    ``packet``   as it came
    ``header``   the UDP header as it is to leave, and what is to stand in front of the data
    ``options``  those of IPv4's header as they are to leave; None for IPv6
    ``told``     whether it tells what only the first datagrams do; whoever makes it so sets it
    """

    __slots__ = ("header", "options", "packet", "told")

    def __init__(self, packet: Packet) -> None:
        l4 = packet.l4
        self.packet = packet
        self.told = False
        self.header = bytearray(packet.data[l4 : l4 + _LEAST_UDP])
        self.options: bytearray | None = None
        if packet.version == IPV4.version:
            self.options = bytearray(packet.data[IPV4.length : l4])

    def assembled(self, ends: bytes) -> bytes:
        """Return the packet as it leaves, between other ends, its TTL one less."""
        header, options = self.header, self.options
        return assemble(self.packet, ends, header, old_length=_LEAST_UDP, options=options)
