"""What stands between an outer header and a packet: GRE, GUE, and protocol 248 with UOA."""

from __future__ import annotations

from typing import Final

from lvsd.explain.headers.cursor import Cursor, Follow, Part, count, u16, u32
from lvsd.explain.headers.ethernet import IPV4, IPV6, ethertype
from lvsd.explain.headers.ip import protocol_name
from lvsd.explain.headers.options import ip_option, option_parts
from lvsd.packet.tunnel import IPV4_INSIDE, IPV6_INSIDE

_GRE_FLAGS: Final = (
    (0x8000, "checksum"),
    (0x4000, "routing"),
    (0x2000, "key"),
    (0x1000, "sequence"),
)
"""RFC 2784, section 2.1, and RFC 2890."""
_GRE_ROUTING: Final = 0x4000

_GUE_CONTROL: Final = 0x20
_GUE_EXTENT: Final = 0x1F
_INSIDE: Final = frozenset({IPV4_INSIDE, IPV6_INSIDE})
_VARIANT_1: Final = {4: IPV4, 6: IPV6}
"""GUE variant 1 is a bare IP packet, whose version's first bits are the variant's."""


def inside(c: Cursor, ethertype_: int) -> Follow | None:
    """Begin the packet that a tunnel has inside, unless that is too deep."""
    return Follow("ethertype", ethertype_) if c.enter("inner ") else None


def gre(c: Cursor) -> Follow | None:
    """Take a GRE header apart: 4 bytes, and 4 each for checksum, key and sequence number."""
    head = c.peek(16)
    word, kind = u16(head, 0), u16(head, 2)
    flags = [name for bit, name in _GRE_FLAGS if word & bit]
    parts: list[Part] = [
        ("flags", " ".join(flags) or "none", 0, 2),
        ("version", str(word & 7), 1, 1),
        ("protocol", ethertype(kind), 2, 2),
    ]
    at = 4
    known = not word & _GRE_ROUTING and not word & 7
    if known and "checksum" in flags:
        parts += [
            ("checksum", f"{u16(head, 4):#06x}", 4, 2),
            ("reserved", f"{u16(head, 6):#06x}", 6, 2),
        ]
        at += 4
    if known and "key" in flags:
        parts.append(("key", f"{u32(head, at):#010x}", at, 4))
        at += 4
    if known and "sequence" in flags:
        parts.append(("sequence number", str(u32(head, at)), at, 4))
        at += 4
    if c.header("GRE", at, parts) and known and kind in {IPV4, IPV6}:
        return inside(c, kind)
    return None


def gue(c: Cursor) -> Follow | None:
    """Take a GUE header apart, 4 bytes and its extensions; variant 1 has none."""
    head = c.peek(4)
    variant = head[0] >> 6
    if variant == 1 and c.room and head[0] >> 4 in _VARIANT_1:
        return inside(c, _VARIANT_1[head[0] >> 4])
    if variant:
        return None
    extent = (head[0] & _GUE_EXTENT) << 2
    control = bool(head[0] & _GUE_CONTROL)
    parts: list[Part] = [
        ("variant", "0", 0, 1),
        ("control", "yes" if control else "no", 0, 1),
        ("header length", str(4 + extent), 0, 1),
        ("protocol", str(head[1]) if control else protocol_name(head[1]), 1, 1),
        ("flags", f"{u16(head, 2):#06x}", 2, 2),
    ]
    if extent:
        parts.append(("extensions", count(extent), 4, extent))
    if c.header("GUE", 4 + extent, parts) and not control and head[1] in _INSIDE:
        return Follow("protocol", head[1])
    return None


def option_protocol(c: Cursor) -> Follow | None:
    """Take the header of protocol 248 apart, and the options that it holds."""
    head = c.peek(4)
    size = u16(head, 2)
    parts: list[Part] = [
        ("version", str(head[0] >> 4), 0, 1),
        ("reserved", str(head[0] & 0x0F), 0, 1),
        ("protocol", protocol_name(head[1]), 1, 1),
        ("length", str(size), 2, 2),
        *option_parts(c, 4, size, ip_option),
    ]
    if c.header("UOA", max(size, 4), parts):
        return Follow("protocol", head[1])
    return None
