"""The client's address told by the header of PROXY v2: once in a stream, in every datagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from lvsd.packet.client_address import PROXY_BYTES, proxy_header
from lvsd.packet.exchange import split_ends
from lvsd.packet.exchanged_error import Insertion, fitting, inserted
from lvsd.packet.inserting import RenumberingBehindHeader
from lvsd.packet.layout import (
    FLAGS_AT,
    LAYOUTS,
    LEAST_BYTES,
    OFFSET_AT,
    SEQ_AT,
    UDP_LENGTH_AT,
)
from lvsd.packet.numbers import TCP, UDP, TcpFlag
from lvsd.packet.telling import FAST_OPEN, MAX_LENGTH, TcpTelling, UdpTelling

if TYPE_CHECKING:
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.numbering import Numbering
    from lvsd.packet.segment import Datagram, Segment
    from lvsd.packet.view import Packet

_FIN, _PSH, _URG = map(int, (TcpFlag.FIN, TcpFlag.PSH, TcpFlag.URG))
_LEAST_TCP: Final = LEAST_BYTES[TCP]
_LEAST_UDP: Final = LEAST_BYTES[UDP]


class ProxyStream(TcpTelling):
    """The header ahead of a stream's data; ``width`` is the addresses', in bytes."""

    __slots__ = ("_size",)

    takes_syn_data: ClassVar[bool] = False

    def __init__(self, counts: ClientAddressCounts, width: int) -> None:
        super().__init__(counts, refused=frozenset({FAST_OPEN}))
        self._size = PROXY_BYTES[width]

    def numbering(self, isn: int) -> Numbering:
        """Return the layer of numbers that has room for the header."""
        return RenumberingBehindHeader(isn, self._size)

    def request(
        self,
        segment: Segment,
        numbering: Numbering,
        mtu: int,  # noqa: ARG002 - the header goes as a segment of its own
        to_client: bytes,
    ) -> list[Segment]:
        """Send the header ahead of the first data, and nothing in its place."""
        flags = segment.flags
        if numbering.overlaps(segment.seq, flags):
            segment.payload = b""
            segment.header[FLAGS_AT] &= ~_FIN
        number = numbering.lead(segment.seq, flags)
        if number is None:
            return [segment]
        self.counts.told += 1
        lead = segment.ahead(number, _told(TCP, to_client), without=_FIN | _URG, flags=_PSH)
        return [lead, segment] if segment.carries or flags & _FIN else [lead]

    def quoted(self, inner: Packet, numbering: Numbering, to_client: bytes) -> Insertion | None:
        """Return the header if the quoted segment is the one that it went in."""
        data, l4 = inner.data, inner.l4
        if not numbering.inserts(int.from_bytes(data[l4 + SEQ_AT : l4 + SEQ_AT + 4], "big")):
            return None
        body = l4 + max(data[l4 + OFFSET_AT] >> 4 << 2, _LEAST_TCP)
        return inserted(inner, body, _told(TCP, to_client), MAX_LENGTH)


class ProxyDatagrams(UdpTelling):
    """The header in every datagram; ``width`` is the addresses', in bytes."""

    __slots__ = ()

    def __init__(self, counts: ClientAddressCounts, width: int) -> None:
        super().__init__(counts)
        self.overhead = self.growth = PROXY_BYTES[width]

    def kept(self, to_client: bytes) -> bytes:
        """Return the header."""
        return _told(UDP, to_client)

    def request(
        self,
        datagram: Datagram,
        mtu: int,  # noqa: ARG002 - it goes, or nothing does
        to_server: bytes,  # noqa: ARG002 - nothing goes ahead
        to_client: bytes,  # noqa: ARG002 - it is in what is kept
        *,
        kept: bytes,
        tells: bool,  # noqa: ARG002 - all do
    ) -> list[bytes] | None:
        """Put the header in; drop a datagram that no IP packet can hold then."""
        self.refuse(datagram)
        packet, header = datagram.packet, datagram.header
        if packet.end + len(kept) - LAYOUTS[packet.version].uncounted > MAX_LENGTH:
            self.counts.no_room += 1
            return None
        self.counts.told += 1
        length = slice(UDP_LENGTH_AT, UDP_LENGTH_AT + 2)
        header[length] = (int.from_bytes(header[length], "big") + len(kept)).to_bytes(2, "big")
        header += kept
        return []

    def quoted(self, inner: Packet, to_client: bytes, kept: bytes) -> Insertion | None:  # noqa: ARG002 - it is in what is kept
        """Return the header, which is in every datagram, and known of where it is not quoted."""
        if inner.fragment_offset:
            return None
        l4 = inner.l4
        at, said = l4 + _LEAST_UDP, l4 + UDP_LENGTH_AT
        limit = l4 + int.from_bytes(inner.data[said : said + 2], "big")
        if inner.end == at and not inner.fragment:
            return fitting(inner, at, kept, limit)
        return inserted(inner, at, kept, limit)


def _told(protocol: int, to_client: bytes) -> bytes:
    virtual, client = split_ends(to_client)
    return proxy_header(protocol, client, virtual)
