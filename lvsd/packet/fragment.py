"""Fragments: one packet cut into several that each fit a way.

The fields are the same in both families: where a piece belongs, in units of 8 bytes, whether more
follow, and a number that all pieces of one packet share (RFC 791, section 2.3; RFC 8200, section
4.5). IPv4 has them in its header, IPv6 in an extension header that is put in for them.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.packet.build import seal_header
from lvsd.packet.layout import (
    FRAGMENT_OFFSET,
    FRAGMENTATION_AT,
    IDENTIFICATION_AT,
    IPV4,
    IPV6,
    LAYOUTS,
    MORE_FRAGMENTS,
)
from lvsd.packet.numbers import DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PACKET: Final = 0xFFFF
"""No packet is put together that is longer: its length fields could not say so."""

LEAST_MTU_V4: Final = 68
"""The longest header and 8 bytes: what every network carries (RFC 791, section 3.2)."""
LEAST_MTU_V6: Final = 56
"""The headers of a fragment and 8 bytes. No IPv6 network has less than 1280."""

_COPIED: Final = 0x80
_END_OF_OPTIONS: Final = 0
_NO_OPERATION: Final = 1

_FRAGMENT_HEADER: Final = Struct("!BxHI")
_FOR_ROUTERS: Final = frozenset({HOP_BY_HOP, ROUTING})
_BEFORE_FRAGMENT: Final = _FOR_ROUTERS | {DESTINATION_OPTIONS, FRAGMENT}

_U16: Final = Struct("!H")


class _Cut(NamedTuple):
    """A packet taken apart: how to write a piece's header, and what is to be spread over them.

    ``header`` takes the place of a piece in bytes, its length in bytes and whether more follow.
    The first piece's header is ``first`` bytes long, the others' are ``later``. ``start`` is where
    the payload belongs in the whole packet, ``more`` whether the last piece has others behind it:
    a fragment may be cut again.
    """

    header: Callable[[int, int, bool], bytes]
    first: int
    later: int
    payload: bytes
    start: int
    more: bool


def fragments(data: bytes, mtu: int, identification: int | None = None) -> list[bytes]:
    """Return a packet as pieces of at most ``mtu`` bytes each, in order; one that fits, alone.

    ``data`` is a packet that `lvsd.packet.view.Packet.load` finds nothing wrong with; padding is
    left out. Whether it may be cut has been decided. So the pieces come without DF, as the
    kernel's do (ip_fragment): a router with a smaller MTU may cut them again. A fragment that is
    cut keeps its place and its number. There are no pieces of a packet whose headers alone fill
    ``mtu``, nor of a fragment that reaches beyond 65,535 bytes, which no host puts together.

    ``identification`` is the number that the pieces share: 16 bits of it for IPv4, 32 for IPv6.
    Without one IPv4 keeps what the packet has; but a packet with DF often has 0, which is not
    unique (RFC 6864, section 4.1). IPv6 has none of its own.

    Raise ValueError for an ``mtu`` below 68 (IPv4) or 56 (IPv6), or when an IPv6 packet that is no
    fragment is to be cut without ``identification``.
    """
    layout = LAYOUTS[data[0] >> 4]
    v4 = layout is IPV4
    total = _U16.unpack_from(data, layout.length_at)[0] + layout.uncounted
    data = data[:total]
    if mtu < (LEAST_MTU_V4 if v4 else LEAST_MTU_V6):
        raise ValueError(f"an MTU of {mtu} leaves no room for 8 bytes behind the headers")
    if total <= mtu:
        return [data]
    cut = _cut_v4(data, identification) if v4 else _cut_v6(data, identification)
    if cut.start + len(cut.payload) > MAX_PACKET:
        return []
    pieces = []
    at, length, room = 0, len(cut.payload), mtu - cut.first
    while at < length:
        size = length - at if length - at <= room else room & ~7
        if size <= 0:
            return []
        more = cut.more or at + size < length
        piece = cut.payload[at : at + size]
        pieces.append(cut.header(cut.start + at, size, more) + piece)
        at += size
        room = mtu - cut.later
    return pieces


def _cut_v4(data: bytes, identification: int | None) -> _Cut:
    """Take an IPv4 packet apart. Later pieces have only the options that are to be copied."""
    length = (data[0] & 0x0F) << 2
    fragmentation = _U16.unpack_from(data, FRAGMENTATION_AT)[0]
    start = (fragmentation & FRAGMENT_OFFSET) << 3
    more = bool(fragmentation & MORE_FRAGMENTS)
    first = bytearray(data[:length])
    if identification is not None and not (start or more):
        _U16.pack_into(first, IDENTIFICATION_AT, identification & 0xFFFF)
    later = first[: IPV4.length] + _copied(first[IPV4.length :])
    later[0] = 0x40 | len(later) >> 2

    def header(at: int, size: int, more: bool) -> bytes:  # noqa: FBT001 - the field is a flag
        out = first if at == start else later
        _U16.pack_into(out, IPV4.length_at, len(out) + size)
        _U16.pack_into(out, FRAGMENTATION_AT, more * MORE_FRAGMENTS | at >> 3)
        seal_header(out)
        return bytes(out)

    return _Cut(header, length, len(later), data[length:], start, more)


def _copied(options: bytearray) -> bytearray:
    """Return the IPv4 options that every piece has (RFC 791, section 3.1), to a multiple of 4.

    Where the options stop making sense they end.
    """
    out = bytearray()
    at = 0
    while at < len(options) and (kind := options[at]) != _END_OF_OPTIONS:
        if kind == _NO_OPERATION:
            at += 1
            continue
        if at + 1 == len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            break
        behind = at + options[at + 1]
        if kind & _COPIED:
            out += options[at:behind]
        at = behind
    return out.ljust(len(out) + 3 & ~3, bytes((_END_OF_OPTIONS,)))


def _cut_v6(data: bytes, identification: int | None) -> _Cut:
    """Take an IPv6 packet apart, before what only its destination looks at."""
    pointer, split = _per_fragment(data)
    start = 0
    more = False
    following = data[pointer]
    payload = data[split:]
    if following == FRAGMENT:
        following, fragmentation, identification = _FRAGMENT_HEADER.unpack_from(data, split)
        start, more = fragmentation & 0xFFF8, bool(fragmentation & 1)
        payload = data[split + _FRAGMENT_HEADER.size :]
    if identification is None:
        raise ValueError("the fragments of an IPv6 packet need an identification")
    number = identification & 0xFFFFFFFF
    headers = bytearray(data[:split])
    headers[pointer] = FRAGMENT
    length = split + _FRAGMENT_HEADER.size

    def header(at: int, size: int, more: bool) -> bytes:  # noqa: FBT001 - the field is a flag
        _U16.pack_into(headers, IPV6.length_at, length - IPV6.length + size)
        return bytes(headers) + _FRAGMENT_HEADER.pack(following, at | more, number)

    return _Cut(header, length, length, payload, start, more)


def _per_fragment(data: bytes) -> tuple[int, int]:
    """Return (where the last header of every piece says what follows, where that header ends).

    Every piece has what routers look at: all up to a routing header, else up to hop-by-hop
    options; and all before a fragment header that is there already.
    """
    pointer, end = IPV6.protocol_at, IPV6.length
    said, at = pointer, end
    while (here := data[said]) in _BEFORE_FRAGMENT and at + 8 <= len(data):
        if here == FRAGMENT:
            return said, at
        said, at = at, at + (data[at + 1] + 1 << 3)
        if here in _FOR_ROUTERS:
            pointer, end = said, at
    return pointer, end
