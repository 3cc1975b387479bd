"""ICMP errors about a connection whose both ends are exchanged, numbers included.

What such an error quotes is made what its receiver sent: the ends, a number, and without what was
put into it on the way. Lengths and checksums follow by the difference, so that of a quote which is
cut short they are right as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvsd.packet import icmp
from lvsd.packet.exchange import split_ends, update, words
from lvsd.packet.layout import (
    ACK_AT,
    CHECKSUM_AT,
    IPV4_CHECKSUM,
    LAYOUTS,
    LEAST_BYTES,
    OFFSET_AT,
    SEQ_AT,
    UDP_LENGTH_AT,
)
from lvsd.packet.numbers import TCP, UDP, Icmp6

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.packet.view import Packet

MIN_MTU = {4: 68, 6: 1280}
"""No way is narrower (RFC 791, section 3.2; RFC 8200, section 5)."""


class Insertion(NamedTuple):
    """What we put into a packet that is quoted: at which offset, and all of it, quoted or not."""

    at: int
    data: bytes


def inserted(inner: Packet, at: int, data: bytes, limit: int) -> Insertion | None:
    """Return the insertion of ``data`` if the quote has it at ``at``, as far as it goes.

    ``limit`` is the offset where what it stands in ends by the quoted headers.
    """
    quoted = inner.data[at : min(inner.end, at + len(data))]
    if not quoted or not data.startswith(quoted):
        return None
    return fitting(inner, at, data, limit)


def fitting(inner: Packet, at: int, data: bytes, limit: int) -> Insertion | None:
    """Return the insertion if by the quoted headers there is room for it."""
    layout = LAYOUTS[inner.version]
    length = inner.data[layout.length_at : layout.length_at + 2]
    end = int.from_bytes(length, "big") + layout.uncounted
    return Insertion(at, data) if at + len(data) <= min(end, limit) else None


def exchange_error(
    packet: Packet,
    inner: Packet,
    ends: bytes,
    *,
    move: Callable[[int, int], tuple[int, int]] | None = None,
    overhead: int = 0,
    insertion: Insertion | None = None,
) -> bytes:
    """Return an error between new ends, as `turned` returns them; it quotes what went back.

    ``inner`` as `icmp.embedded` loaded it. ``move`` maps the sequence number and the
    acknowledgement of the quoted TCP header, as far as they were quoted. ``insertion`` is taken out
    of the quote. An MTU that the error tells is lowered by ``overhead`` bytes. The TTL goes down by
    one; checksums change by the difference, the ICMP one from right to right.
    """
    source, destination = split_ends(ends)
    out = bytearray(
        icmp.rewrite_error(
            packet,
            inner,
            outer_source=source[0],
            outer_destination=destination[0],
            inner_source=destination,
            inner_destination=source,
        )
    )
    l4 = packet.l4
    old = words(out[l4:])
    mtu = icmp.next_hop_mtu(packet)
    if mtu and overhead:  # 0: from a router that does not tell (RFC 1191, section 4.1)
        mtu = max(mtu - overhead, MIN_MTU[packet.version])
        width = 2 if packet.version == 4 else 4
        out[l4 + 8 - width : l4 + 8] = mtu.to_bytes(width, "big")
    quote = out[l4 + icmp.HEADER_BYTES :]
    if move and inner.protocol == TCP and not inner.fragment_offset:
        _map_numbers(quote, inner.l4, move)
    if insertion is not None:
        _take_out(quote, packet, inner, insertion)
    out[l4 + icmp.HEADER_BYTES :] = quote
    shorter = packet.end - len(out)
    pseudo_header = shorter if packet.version == 6 else 0
    update(out, l4 + 2, words(out[l4:]) - old - pseudo_header)
    _pass_on(out, packet, shorter)
    return bytes(out)


def _pass_on(out: bytearray, packet: Packet, shorter: int) -> None:
    """Give the error a TTL that is one less, and its new length."""
    layout = LAYOUTS[packet.version]
    old = words(out[: packet.l4])
    out[layout.ttl_at] -= packet.ttl > 0
    _add(out, layout.length_at, -shorter)
    if packet.version == 4:
        update(out, IPV4_CHECKSUM, words(out[: packet.l4]) - old)


def _map_numbers(quote: bytearray, tcp: int, move: Callable[[int, int], tuple[int, int]]) -> None:
    """Map the numbers of the TCP header that begins at ``tcp``, and its checksum.

    Only the first of them is in the 8 bytes that every error quotes.
    """
    seq_at, ack_at = tcp + SEQ_AT, tcp + ACK_AT
    if ack_at > len(quote):
        return
    seq = int.from_bytes(quote[seq_at:ack_at], "big")
    has_ack = ack_at + 4 <= len(quote)
    ack = int.from_bytes(quote[ack_at : ack_at + 4], "big") if has_ack else 0
    new_seq, new_ack = move(seq, ack)
    quote[seq_at:ack_at] = new_seq.to_bytes(4, "big")
    if has_ack:
        quote[ack_at : ack_at + 4] = new_ack.to_bytes(4, "big")
    if tcp + LEAST_BYTES[TCP] - 2 <= len(quote):
        update(quote, tcp + CHECKSUM_AT[TCP], new_seq - seq + new_ack - ack)


def _take_out(quote: bytearray, packet: Packet, inner: Packet, insertion: Insertion) -> None:
    """Take out of a quote what was inserted, and from its lengths and checksums, too."""
    at, size = insertion.at, len(insertion.data)
    l4, layout = inner.l4, LAYOUTS[inner.version]
    header = words(quote[:l4])
    _add(quote, layout.length_at, -size)
    if at < l4:
        quote[0] -= size >> 2
        header += words(insertion.data)
    if inner.version == 4:
        update(quote, IPV4_CHECKSUM, words(quote[:l4]) - header)
    if at >= l4:
        change = -words(insertion.data) - size  # of the data, and of the pseudo header's length
        if inner.protocol == UDP:
            _add(quote, l4 + UDP_LENGTH_AT, -size)
            change -= size
        elif at == l4 + LEAST_BYTES[TCP] < l4 + (quote[l4 + OFFSET_AT] >> 4 << 2):
            quote[l4 + OFFSET_AT] -= size >> 2 << 4
            change -= size >> 2 << 12
        checksum_at = l4 + CHECKSUM_AT[inner.protocol]
        update(quote, checksum_at, change, udp=inner.protocol == UDP)
    room = _room(packet)
    taken = max(0, min(at + size, inner.end, room or inner.end) - at)
    del quote[at : at + taken]
    if room:
        quote[room - taken : room - taken] = bytes(taken)


def _room(packet: Packet) -> int:
    """Return the length of the quote if extensions follow it (RFC 4884, section 4), else 0."""
    at = packet.l4 + 4
    if packet.version == 4:
        return packet.data[at + 1] << 2
    return 0 if packet.icmp_type == Icmp6.TOO_BIG else packet.data[at] << 3


def _add(out: bytearray, at: int, change: int) -> None:
    """Add to a number of 16 bits."""
    value = int.from_bytes(out[at : at + 2], "big") + change
    out[at : at + 2] = value.to_bytes(2, "big")
