"""The client's address told by an option: TOA in TCP's header, UOA in IPv4's or a packet ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from lvsd.packet import tcp_header
from lvsd.packet.build import ip_packet
from lvsd.packet.client_address import OPTION_PROTOCOL, TOA_BYTES, option_protocol, toa, uoa
from lvsd.packet.exchange import split_ends
from lvsd.packet.exchanged_error import Insertion, inserted
from lvsd.packet.layout import IPV4, LEAST_BYTES, OFFSET_AT, UDP_HEADER
from lvsd.packet.numbers import TCP
from lvsd.packet.renumbering import Renumbering
from lvsd.packet.telling import FAST_OPEN, MAX_LENGTH, TcpTelling, UdpTelling

if TYPE_CHECKING:
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.numbering import Numbering
    from lvsd.packet.segment import Datagram, Segment
    from lvsd.packet.view import Packet

UOA_PACKETS: Final = 3
"""UOA is in a connection's first datagrams, this many, as DPVS's uoa_max_trail: one may be lost."""

_LEAST: Final = LEAST_BYTES[TCP]
_LONGEST_HEADER: Final = 60


class Toa(TcpTelling):
    """TOA, in every segment that could end the handshake; ``width`` is the address's, in bytes."""

    __slots__ = ("_kind",)

    takes_syn_data: ClassVar[bool] = False

    def __init__(self, counts: ClientAddressCounts, kind: int, width: int) -> None:
        super().__init__(counts, refused=frozenset({FAST_OPEN, kind}))
        self._kind = kind
        self.overhead = TOA_BYTES[width]
        self.forgeable |= {kind}

    def numbering(self, isn: int) -> Numbering:
        """Return the layer of numbers that watches what the server must know."""
        return Renumbering(isn, telling=True)

    def request(
        self, segment: Segment, numbering: Numbering, mtu: int, to_client: bytes
    ) -> list[Segment]:
        """Put TOA in, if there is room for it."""
        if not numbering.unconfirmed(segment.ack, segment.flags):
            return [segment]
        packet, header = segment.packet, segment.header
        told = tcp_header.insert(header, segment.found, packet.l4, self._told(to_client))
        if told is None or packet.end + len(told) - len(header) > min(mtu, MAX_LENGTH):
            self.counts.no_room += 1
        else:
            self.counts.told += 1
            segment.header = told
        return [segment]

    def answer(self, segment: Segment) -> None:
        """Leave room for the option in the client's segments."""
        tcp_header.lower_mss(segment.header, segment.found, segment.packet.l4, self.overhead)

    def quoted(self, inner: Packet, numbering: Numbering, to_client: bytes) -> Insertion | None:  # noqa: ARG002 - it is in the header
        """Return TOA if it is where it was put."""
        l4 = inner.l4
        body = l4 + max(inner.data[l4 + OFFSET_AT] >> 4 << 2, _LEAST)
        return inserted(inner, l4 + _LEAST, self._told(to_client), body)

    def _told(self, to_client: bytes) -> bytes:
        return toa(*split_ends(to_client)[1], self._kind)


class Uoa(UdpTelling):
    """UOA as an option of IPv4, in the first datagrams."""

    __slots__ = ()

    first: ClassVar[int] = UOA_PACKETS

    def __init__(self, counts: ClientAddressCounts) -> None:
        super().__init__(counts)
        self.overhead = TOA_BYTES[IPV4.width]

    def request(
        self,
        datagram: Datagram,
        mtu: int,
        to_server: bytes,  # noqa: ARG002 - nothing goes ahead
        to_client: bytes,
        *,
        kept: bytes,  # noqa: ARG002 - nothing is kept
        tells: bool,
    ) -> list[bytes] | None:
        """Put the option in, in front of all others, if there is room."""
        self.refuse(datagram)
        if tells:
            packet, told = datagram.packet, self._told(to_client)
            longest = min(mtu, MAX_LENGTH)
            if packet.l4 + len(told) > _LONGEST_HEADER or packet.end + len(told) > longest:
                self.counts.no_room += 1
            else:
                self.counts.told += 1
                datagram.told = True
                datagram.options = bytearray(told) + (datagram.options or b"")
        return []

    def quoted(self, inner: Packet, to_client: bytes, kept: bytes) -> Insertion | None:  # noqa: ARG002 - nothing is kept
        """Return UOA if it is where it was put."""
        return inserted(inner, IPV4.length, self._told(to_client), inner.l4)

    @staticmethod
    def _told(to_client: bytes) -> bytes:
        return uoa(*split_ends(to_client)[1])


class UoaAhead(UdpTelling):
    """UOA in a packet of its own ahead of IPv6's first datagrams."""

    __slots__ = ()

    first: ClassVar[int] = UOA_PACKETS

    def request(
        self,
        datagram: Datagram,
        mtu: int,  # noqa: ARG002 - the packet is a short one
        to_server: bytes,
        to_client: bytes,
        *,
        kept: bytes,  # noqa: ARG002 - nothing is kept
        tells: bool,
    ) -> list[bytes] | None:
        """Return the packet that carries UOA.

        The datagram in it is empty and has the checksum 0, which no program gets to see: a host
        discards it (RFC 8200, section 8.1) once it has read what stands in front.
        """
        if not tells:
            return []
        self.counts.told += 1
        datagram.told = True
        source, destination = split_ends(to_server)
        packet = datagram.packet
        first = int.from_bytes(packet.data[:4], "big")
        empty = UDP_HEADER.pack(source[1], destination[1], UDP_HEADER.size, 0)
        ahead = ip_packet(
            source[0],
            destination[0],
            OPTION_PROTOCOL,
            option_protocol(*split_ends(to_client)[1]) + empty,
            ttl=packet.ttl - (packet.ttl > 0),
            dsfield=first >> 20 & 0xFF,
            flow_label=first & 0xFFFFF,
        )
        return [ahead]
