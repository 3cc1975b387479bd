"""What a host answers to a packet of no connection: a RST, or an ABORT.

TCP: RFC 9293, section 3.10.7.1. SCTP: RFC 9260, section 8.4, for an endpoint that nobody has.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.build import ip_packet, reset, sctp_packet
from lvsd.packet.checksum import transport_checksum
from lvsd.packet.layout import LEAST_BYTES, OFFSET_AT, SEQ_AT
from lvsd.packet.numbers import SCTP, TCP, Chunk, TcpFlag
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.packet.view import Packet

_NUMBERS: Final = Struct("!II").unpack_from
_CHUNK: Final = Struct("!BBH")
_SCTP_HEADER: Final = LEAST_BYTES[SCTP]
_TAG_IS_REFLECTED: Final = 1
"""The T bit: the packet bears the tag of the packet that it answers."""
_UNANSWERED: Final = frozenset({Chunk.ABORT, Chunk.SHUTDOWN_COMPLETE})


def refusal(packet: Packet) -> bytes | None:
    """Return the packet that refuses a segment of TCP or SCTP, None if a host would be silent.

    It is silent about refusals, about what is damaged, and about other protocols: those are
    refused by ICMP. A checksum of SCTP is not looked at.
    """
    if packet.fragment:
        return None
    if packet.protocol == TCP:
        return _reset(packet)
    if packet.protocol == SCTP:
        return _abort(packet)
    return None


def is_refusal(packet: Packet) -> bool:
    """Tell whether a packet is one that ends a connection by itself: RST, or ABORT."""
    if packet.protocol == TCP:
        return bool(packet.flags & TcpFlag.RST)
    return packet.protocol == SCTP and not _UNANSWERED.isdisjoint(_chunks(packet))


def _reset(packet: Packet) -> bytes | None:
    flags, l4, end = packet.flags, packet.l4, packet.end
    if flags & TcpFlag.RST:
        return None
    if transport_checksum(packet.data[l4:end], TCP, packet.source, packet.destination):
        return None
    seq, ack = _NUMBERS(packet.data, l4 + SEQ_AT)
    source, destination = split_key(packet.key)
    if flags & TcpFlag.ACK:
        return reset(destination, source, ack)
    length = end - l4 - (packet.data[l4 + OFFSET_AT] >> 4 << 2)
    length += bool(flags & TcpFlag.SYN) + bool(flags & TcpFlag.FIN)
    return reset(destination, source, 0, seq + length & 0xFFFFFFFF)


def _abort(packet: Packet) -> bytes | None:
    chunks = list(_chunks(packet))
    if not chunks or not _UNANSWERED.isdisjoint(chunks):
        return None
    at = packet.l4 + _SCTP_HEADER
    tag, chunk = packet.data[packet.l4 + 4 : packet.l4 + 8], (Chunk.ABORT, _TAG_IS_REFLECTED)
    if chunks[0] == Chunk.INIT:
        tag, chunk = packet.data[at + 4 : at + 8], (Chunk.ABORT, 0)
        if len(tag) < 4 or at + 8 > packet.end:
            return None
    elif chunks[0] == Chunk.SHUTDOWN_ACK:
        chunk = (Chunk.SHUTDOWN_COMPLETE, _TAG_IS_REFLECTED)
    elif chunks[0] == Chunk.COOKIE_ACK:
        return None
    body = _CHUNK.pack(*chunk, _CHUNK.size)
    answer = sctp_packet(packet.destination_port, packet.source_port, tag, body)
    return ip_packet(packet.destination, packet.source, SCTP, answer)


def _chunks(packet: Packet) -> Iterator[int]:
    """Yield the types of an SCTP packet's chunks, as far as their lengths make sense."""
    at = packet.l4 + _SCTP_HEADER
    while at + _CHUNK.size <= packet.end:
        kind, _, length = _CHUNK.unpack_from(packet.data, at)
        if length < _CHUNK.size:
            return
        yield kind
        at += length + 3 & ~3
