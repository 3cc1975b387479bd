"""ICMP errors about a connection whose both ends are exchanged, numbers included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.packet import icmp
from lvsd.packet.checksum import IPV4_CHECKSUM
from lvsd.packet.exchange import HEADER, update, words
from lvsd.packet.numbers import TCP

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.packet.exchange import Exchange
    from lvsd.packet.view import Packet

SEQ_AT, ACK_AT = 4, 8
"""Where in a TCP header the numbers are."""

MIN_MTU = {4: 68, 6: 1280}
"""No way is narrower (RFC 791, section 3.2; RFC 8200, section 5)."""


def exchange_error(
    packet: Packet,
    inner: Packet,
    exchange: Exchange,
    *,
    number_at: int = 0,
    move: Callable[[int], int] | None = None,
    overhead: int = 0,
) -> bytes:
    """Return an error between the new ends of ``exchange``; what it quotes went the other way.

    ``inner`` as `icmp.embedded` loaded it. ``move`` maps the quoted TCP header's number at
    ``number_at``, where that was quoted. An MTU that the error tells is lowered by ``overhead``
    bytes. The TTL goes down by one; checksums change by the difference, the ICMP one from right
    to right.
    """
    source, destination = exchange.source, exchange.destination
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
    _decrement_ttl(out, packet, exchange)
    old = words(out[l4:])
    mtu = icmp.next_hop_mtu(packet)
    if mtu and overhead:  # 0: from a router that does not tell (RFC 1191, section 4.1)
        mtu = max(mtu - overhead, MIN_MTU[packet.version])
        width = 2 if packet.version == 4 else 4
        out[l4 + 8 - width : l4 + 8] = mtu.to_bytes(width, "big")
    if move and inner.protocol == TCP and not inner.fragment_offset:
        _map_number(out, l4 + icmp.HEADER_BYTES + inner.l4, number_at, move)
    update(out, l4 + 2, words(out[l4:]) - old)
    return bytes(out)


def _decrement_ttl(out: bytearray, packet: Packet, exchange: Exchange) -> None:
    old = words(out[: packet.l4])
    out[exchange.layout.ttl_at] -= packet.ttl > 0
    if packet.version == 4:
        update(out, IPV4_CHECKSUM, words(out[: packet.l4]) - old)


def _map_number(out: bytearray, tcp: int, number_at: int, move: Callable[[int], int]) -> None:
    """Map a number of the quoted TCP header that begins at ``tcp``, and its checksum."""
    number = slice(tcp + number_at, tcp + number_at + 4)
    if number.stop > len(out):
        return
    old = int.from_bytes(out[number], "big")
    new = move(old)
    out[number] = new.to_bytes(4, "big")
    if tcp + HEADER[TCP] - 2 <= len(out):
        update(out, tcp + 16, new - old)
