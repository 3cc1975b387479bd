"""Both ends of a packet exchanged for others, whatever else changes with them.

A packet's ends are given as they lie in it: source and destination address, source and
destination port. `assemble` takes the transport header as it is to be, longer or shorter if need
be, and puts the packet together. Checksums change by the difference only (RFC 1624, eq. 3),
headers being compared as a whole: of a number that is a multiple of 16 bits long, the remainder
by 0xFFFF is the sum.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import MODULUS, apply, apply_udp
from lvsd.packet.layout import CHECKSUM_AT, IPV4_CHECKSUM, LAYOUTS, LEAST_BYTES, PORTS
from lvsd.packet.numbers import UDP

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint, Packet

_ENDS: Final = {12: Struct("!4s4s2s2s"), 36: Struct("!16s16s2s2s")}


def turned(key: bytes) -> bytes:
    """Return the ends of packets that go the other way than those of a connection's key."""
    fields = _ENDS[len(key) - 1]
    source, destination, source_port, destination_port = fields.unpack_from(key, 1)
    return fields.pack(destination, source, destination_port, source_port)


def split_ends(ends: bytes) -> tuple[Endpoint, Endpoint]:
    """Return the source and the destination."""
    half = len(ends) - 4 >> 1
    source_port, destination_port = PORTS.unpack(ends[-4:])
    return (ends[:half], source_port), (ends[half:-4], destination_port)


def network(
    packet: Packet,
    ends: bytes,
    addresses: int,
    growth: int = 0,
    options: bytes | bytearray | None = None,
) -> bytes | bytearray:
    """Return the IP header, the TTL one less, for a packet that is longer by some bytes.

    Everything in front of the transport header stays, but for IPv4 ``options`` if given: a
    multiple of 4 bytes, at most 40. ``addresses`` is the difference that the new ones make,
    ``growth`` that of everything behind the header.
    """
    layout = LAYOUTS[packet.version]
    if packet.l4 == layout.length and packet.ttl and not (growth or options):
        start, word = layout.start.unpack_from(packet.data)
        return layout.start.pack(start, layout.next_word(word, addresses)) + ends[:-4]
    if options is not None:
        growth += layout.length + len(options) - packet.l4
    out = bytearray(packet.data[: packet.l4])
    old = int.from_bytes(out, "big")
    out[layout.source_at : layout.length] = ends[:-4]
    out[layout.ttl_at] -= out[layout.ttl_at] > 0
    if growth:
        at = layout.length_at
        out[at : at + 2] = (packet.end - layout.uncounted + growth).to_bytes(2, "big")
    if options is not None:
        out[layout.length :] = options
        out[0] = 0x40 | len(out) >> 2
    if packet.version == 4:
        update(out, IPV4_CHECKSUM, int.from_bytes(out, "big") - old)
    return out


def whole(packet: Packet, ends: bytes) -> bytes:
    """Return a packet of which only the ends and the TTL change; also for a fragment."""
    l4 = packet.l4
    if packet.fragment_offset:
        header = network(packet, ends, _difference(packet, ends))
        return bytes(header) + packet.data[l4 : packet.end]
    return assemble(packet, ends, bytearray(packet.data[l4 : l4 + LEAST_BYTES[packet.protocol]]))


def assemble(
    packet: Packet,
    ends: bytes,
    header: bytearray,
    payload: bytes | None = None,
    *,
    old_length: int | None = None,
    options: bytes | bytearray | None = None,
) -> bytes:
    """Return a packet with another transport header, and another payload if one is given.

    ``header`` has the old checksum in it, and an even length; its ports are set here. What it
    replaces is ``old_length`` bytes of the old one, as many as it has itself by default.
    ``options`` are the IP header's, as `network` takes them.
    """
    data, l4, end = packet.data, packet.l4, packet.end
    body = l4 + (len(header) if old_length is None else old_length)
    header[:4] = ends[-4:]
    addresses = _difference(packet, ends)
    change = addresses + int.from_bytes(header, "big") - int.from_bytes(data[l4:body], "big")
    if payload is None:
        payload = data[body:end]
    else:
        change += words(payload) - words(data[body:end])
    growth = len(header) + len(payload) - (end - l4)
    update(header, CHECKSUM_AT[packet.protocol], change + growth, udp=packet.protocol == UDP)
    return b"".join((network(packet, ends, addresses, growth, options), header, payload))


def words(data: bytes | bytearray) -> int:
    """Return some bytes as one number of 16-bit words: an odd last byte is an upper half."""
    return int.from_bytes(data, "big") << (len(data) % 2 * 8)


def update(out: bytearray, at: int, change: int, *, udp: bool = False) -> None:
    """Apply a difference of words to the checksum at an offset; UDP's 0 stays 0."""
    value = int.from_bytes(out[at : at + 2], "big")
    how = apply_udp if udp else apply
    out[at : at + 2] = how(value, change % MODULUS or MODULUS).to_bytes(2, "big")


def _difference(packet: Packet, ends: bytes) -> int:
    """Return the difference of words that new addresses make."""
    return int.from_bytes(ends[:-4], "big") - int.from_bytes(packet.key[1:-4], "big")
