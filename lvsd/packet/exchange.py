"""Both ends of a packet exchanged for others, whatever else changes with them.

An `Exchange` is one direction of a connection: packets come with one pair of ends and leave with
another. It takes the transport header as it is to be, longer or shorter if need be, and puts the
packet together. Checksums change by the difference only (RFC 1624, eq. 3), headers being compared
as a whole: of a number that is a multiple of 16 bits long, the remainder by 0xFFFF is the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import IPV4_CHECKSUM, apply, apply_udp, checksum, pseudo_header
from lvsd.packet.numbers import TCP, UDP, TcpFlag
from lvsd.packet.rewrite import CHECKSUM_AT

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint, Packet

HEADER: Final = {TCP: 20, UDP: 8}
"""The shortest header of each protocol, in bytes."""

MODULUS: Final = 0xFFFF
_RESET_TTL: Final = 64
_PORTS: Final = Struct("!HH")
_RESET: Final = Struct("!IIBBHHH")


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between the two IP headers. The ends are addresses and ports, as they lie.

    ``tcp`` and ``udp`` take a packet without IP options or extension headers apart: the start, the
    word in front of the ends, the ends, the transport header up to its checksum.
    """

    length: int
    """Without options and extension headers."""
    addresses: slice
    ttl_at: int
    length_at: int
    uncounted: int
    """The bytes that the length field leaves out."""
    hop: int
    """One TTL, as it weighs in the word in front of the ends."""
    checksum: int
    """The bits of that word that are the header's checksum."""
    tcp: Struct
    udp: Struct


LAYOUTS: Final = {
    4: Layout(
        length=20,
        addresses=slice(12, 20),
        ttl_at=8,
        length_at=2,
        uncounted=0,
        hop=1 << 24,
        checksum=0xFFFF,
        tcp=Struct("!8sI12sII4sH"),
        udp=Struct("!8sI12sHH"),
    ),
    6: Layout(
        length=40,
        addresses=slice(8, 40),
        ttl_at=7,
        length_at=4,
        uncounted=40,
        hop=1,
        checksum=0,
        tcp=Struct("!4sI36sII4sH"),
        udp=Struct("!4sI36sHH"),
    ),
}


class Exchange:
    """One direction: ``old`` ends are exchanged for ``new`` ones, each (source, destination).

    Raise ValueError if the addresses are not all of one family.
    """

    __slots__ = ("addresses", "change", "ends", "layout")

    def __init__(self, old: tuple[Endpoint, Endpoint], new: tuple[Endpoint, Endpoint]) -> None:
        before, after = _ends(*old), _ends(*new)
        if len({len(address) for address, _ in (*old, *new)}) != 1 or len(after) not in {12, 36}:
            raise ValueError("the old and new addresses must be all IPv4 or all IPv6")
        self.ends = after
        self.layout = LAYOUTS[4 if len(after) == 12 else 6]
        self.change = _difference(before, after)
        self.addresses = _difference(before[:-4], after[:-4])

    @property
    def source(self) -> Endpoint:
        """The new source."""
        half = len(self.ends) - 4 >> 1
        return self.ends[:half], int.from_bytes(self.ends[-4:-2], "big")

    @property
    def destination(self) -> Endpoint:
        """The new destination."""
        half = len(self.ends) - 4 >> 1
        return self.ends[half:-4], int.from_bytes(self.ends[-2:], "big")

    def plain(self, word: int) -> int:
        """Return the word in front of the ends, of a packet with a TTL above 0."""
        layout = self.layout
        word -= layout.hop
        if not layout.checksum:
            return word
        # The TTL is the upper half of what the checksum adds up.
        change = (self.addresses - 0x100) % MODULUS or MODULUS
        return word & ~layout.checksum | apply(word & layout.checksum, change)

    def network(
        self, packet: Packet, growth: int = 0, options: bytes | bytearray | None = None
    ) -> bytearray:
        """Return the IP header, the TTL one less, for a packet that is longer by some bytes.

        Everything in front of the transport header stays, but for IPv4 ``options`` if given: a
        multiple of 4 bytes, at most 40. ``growth`` is that of everything behind them.
        """
        layout = self.layout
        if options is not None:
            growth += layout.length + len(options) - packet.l4
        out = bytearray(packet.data[: packet.l4])
        old = int.from_bytes(out, "big")
        out[layout.addresses] = self.ends[:-4]
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

    def whole(self, packet: Packet) -> bytes:
        """Return a packet of which only the ends and the TTL change; also for a fragment."""
        if packet.fragment_offset:
            return bytes(self.network(packet)) + packet.data[packet.l4 : packet.end]
        l4 = packet.l4
        return self.assemble(packet, bytearray(packet.data[l4 : l4 + HEADER[packet.protocol]]))

    def datagram(self, packet: Packet) -> bytes:
        """Return a packet of UDP of which only the ends and the TTL change, sooner than `whole`."""
        layout, data = self.layout, packet.data
        if packet.l4 != layout.length or packet.fragment or not packet.ttl:
            return self.whole(packet)
        udp = layout.udp
        start, word, _, length, value = udp.unpack_from(data)
        value = apply_udp(value, self.change or MODULUS)
        plain = udp.pack(start, self.plain(word), self.ends, length, value)
        return plain + data[udp.size : packet.end]

    def assemble(
        self,
        packet: Packet,
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
        data, l4 = packet.data, packet.l4
        body = l4 + (len(header) if old_length is None else old_length)
        old = int.from_bytes(data[l4:body], "big")
        header[:4] = self.ends[-4:]
        change = self.addresses + int.from_bytes(header, "big") - old
        if payload is None:
            payload = data[body : packet.end]
        else:
            change += words(payload) - words(data[body : packet.end])
        growth = len(header) + len(payload) - (packet.end - l4)
        update(header, CHECKSUM_AT[packet.protocol], change + growth, udp=packet.protocol == UDP)
        return b"".join((self.network(packet, growth, options), header, payload))

    def reset(self, seq: int) -> bytes:
        """Return a RST with this sequence number, from the new source to the new destination."""
        half = len(self.ends) - 4 >> 1
        addresses = self.ends[: 2 * half]
        segment = bytearray(self.ends[-4:])
        segment += _RESET.pack(seq, 0, HEADER[TCP] << 2, TcpFlag.RST, 0, 0, 0)
        carry = pseudo_header(addresses[:half], addresses[half:], TCP, len(segment))
        segment[16:18] = checksum(segment, carry).to_bytes(2, "big")
        if half == 16:
            start = b"\x60\0\0\0" + len(segment).to_bytes(2, "big") + bytes((TCP, _RESET_TTL))
            return start + addresses + segment
        length = 20 + len(segment)
        header = bytearray(b"\x45\0" + length.to_bytes(2, "big") + b"\0\0\x40\0")
        header += bytes((_RESET_TTL, TCP, 0, 0)) + addresses
        header[IPV4_CHECKSUM : IPV4_CHECKSUM + 2] = checksum(header).to_bytes(2, "big")
        return bytes(header + segment)


def words(data: bytes | bytearray) -> int:
    """Return some bytes as one number of 16-bit words: an odd last byte is an upper half."""
    return int.from_bytes(data, "big") << (len(data) % 2 * 8)


def update(out: bytearray, at: int, change: int, *, udp: bool = False) -> None:
    """Apply a difference of words to the checksum at an offset; UDP's 0 stays 0."""
    value = int.from_bytes(out[at : at + 2], "big")
    how = apply_udp if udp else apply
    out[at : at + 2] = how(value, change % MODULUS or MODULUS).to_bytes(2, "big")


def _ends(source: Endpoint, destination: Endpoint) -> bytes:
    return source[0] + destination[0] + _PORTS.pack(source[1], destination[1])


def _difference(old: bytes, new: bytes) -> int:
    return (int.from_bytes(new, "big") - int.from_bytes(old, "big")) % MODULUS
