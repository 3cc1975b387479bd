"""IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from lvsd.explain.headers.cursor import Cursor, Follow, Part, count, u16, u32
from lvsd.explain.headers.options import ip_option, option_parts
from lvsd.packet.address import text
from lvsd.packet.client_address import OPTION_PROTOCOL
from lvsd.packet.numbers import (
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    PROTOCOL_NAMES,
    ROUTING,
)
from lvsd.packet.tunnel import IPV4_INSIDE
from lvsd.packet.view import MAX_EXTENSIONS, Fault

_Extension: TypeAlias = Callable[[Cursor], int | None]
"""Takes an extension header apart, and returns the number of what follows it."""

PROTOCOLS: Final = PROTOCOL_NAMES | {
    IPV4_INSIDE: "IPIP",
    HOP_BY_HOP: "hop-by-hop options",
    ROUTING: "routing header",
    FRAGMENT: "fragment header",
    DESTINATION_OPTIONS: "destination options",
    OPTION_PROTOCOL: "UOA",
}

_ECN: Final = ("not ECT", "ECT(1)", "ECT(0)", "CE")
"""RFC 3168, section 5."""

_FRAGMENT_FLAGS: Final = ((0x80, "reserved"), (0x40, "DF"), (0x20, "MF"))


def protocol_name(number: int) -> str:
    """Return what people call a protocol number, or the number."""
    return PROTOCOLS.get(number, str(number))


def ipv4(c: Cursor) -> Follow | None:
    """Take an IPv4 header apart: 20 to 60 bytes."""
    head = c.peek(20)
    if c.room and head[0] >> 4 != 4:
        c.malformed(Fault.BAD_VERSION)
        return None
    size, total, fragmentation = (head[0] & 0x0F) << 2, u16(head, 2), u16(head, 6)
    flags = [name for bit, name in _FRAGMENT_FLAGS if head[6] & bit]
    offset = (fragmentation & 0x1FFF) << 3
    parts: list[Part] = [
        ("version", "4", 0, 1),
        ("header length", str(size), 0, 1),
        ("DSCP", str(head[1] >> 2), 1, 1),
        ("ECN", _ECN[head[1] & 3], 1, 1),
        ("total length", str(total), 2, 2),
        ("identification", f"{u16(head, 4):#06x}", 4, 2),
        ("flags", " ".join(flags) or "none", 6, 1),
        ("fragment offset", str(offset), 6, 2),
        ("TTL", str(head[8]), 8, 1),
        ("protocol", protocol_name(head[9]), 9, 1),
        ("header checksum", f"{u16(head, 10):#06x}", 10, 2),
        ("source", text(head[12:16]), 12, 4),
        ("destination", text(head[16:20]), 16, 4),
        *option_parts(c, 20, size, ip_option),
    ]
    start = c.at
    if not c.header("IPv4", max(size, 20), parts):
        return None
    if size < 20 or total < size:
        c.malformed(Fault.BAD_HEADER_LENGTH if size < 20 else Fault.BAD_LENGTH)
        return None
    c.ends(start + total - c.at, behind="padding")
    if fragmentation & 0x3FFF:
        c.whole = False
    c.transport()
    return None if offset else Follow("protocol", head[9])


def ipv6(c: Cursor) -> Follow | None:
    """Take an IPv6 header apart, 40 bytes, and the extension headers that follow it."""
    head = c.peek(40)
    if c.room and head[0] >> 4 != 6:
        c.malformed(Fault.BAD_VERSION)
        return None
    word, length = u32(head, 0), u16(head, 4)
    parts: list[Part] = [
        ("version", "6", 0, 1),
        ("DSCP", str(word >> 22 & 0x3F), 0, 2),
        ("ECN", _ECN[word >> 20 & 3], 1, 1),
        ("flow label", f"{word & 0xFFFFF:#07x}", 1, 3),
        ("payload length", str(length), 4, 2),
        ("next header", protocol_name(head[6]), 6, 1),
        ("hop limit", str(head[7]), 7, 1),
        ("source", text(head[8:24]), 8, 16),
        ("destination", text(head[24:40]), 24, 16),
    ]
    if not c.header("IPv6", 40, parts):
        return None
    c.ends(length, behind="padding")
    number = head[6]
    for _ in range(MAX_EXTENSIONS):
        extension = _EXTENSIONS.get(number)
        if extension is None:
            c.transport()
            return Follow("protocol", number)
        following = extension(c)
        if following is None:
            return None
        number = following
    if number in _EXTENSIONS:
        c.malformed(Fault.TOO_MANY_HEADERS)
        return None
    c.transport()
    return Follow("protocol", number)


def authentication(c: Cursor) -> int | None:
    """Take an authentication header apart (RFC 4302, section 2); return what follows it."""
    head = c.peek(12)
    size = (head[1] + 2) << 2
    parts: list[Part] = [
        ("next header", protocol_name(head[0]), 0, 1),
        ("length", str(size), 1, 1),
        ("reserved", f"{u16(head, 2):#06x}", 2, 2),
        ("SPI", f"{u32(head, 4):#010x}", 4, 4),
        ("sequence number", str(u32(head, 8)), 8, 4),
    ]
    if size > 12:
        parts.append(("integrity check", count(size - 12), 12, size - 12))
    return _extension(c, "authentication header", size, [p for p in parts if p[2] < size], head[0])


def _options(name: str) -> _Extension:
    def options(c: Cursor) -> int | None:
        head = c.peek(8)
        size = (head[1] + 1) << 3
        parts = [*_lead(head, size), ("options", count(size - 2), 2, size - 2)]
        return _extension(c, name, size, parts, head[0])

    return options


def _routing(c: Cursor) -> int | None:
    head = c.peek(8)
    size = (head[1] + 1) << 3
    parts: list[Part] = [
        *_lead(head, size),
        ("routing type", str(head[2]), 2, 1),
        ("segments left", str(head[3]), 3, 1),
        ("data", count(size - 4), 4, size - 4),
    ]
    return _extension(c, "routing header", size, parts, head[0])


def _fragment(c: Cursor) -> int | None:
    head = c.peek(8)
    word = u16(head, 2)
    parts: list[Part] = [
        ("next header", protocol_name(head[0]), 0, 1),
        ("reserved", f"{head[1]:#04x}", 1, 1),
        ("fragment offset", str(word & 0xFFF8), 2, 2),
        ("flags", "MF" if word & 1 else "none", 3, 1),
        ("identification", f"{u32(head, 4):#010x}", 4, 4),
    ]
    following = _extension(c, "fragment header", 8, parts, head[0])
    if word & 0xFFF9:
        c.whole = False
    return None if word & 0xFFF8 else following


def _lead(head: bytes, size: int) -> list[Part]:
    return [("next header", protocol_name(head[0]), 0, 1), ("length", str(size), 1, 1)]


def _extension(c: Cursor, name: str, size: int, parts: list[Part], following: int) -> int | None:
    return following if c.header(name, size, parts) else None


_EXTENSIONS: Final[dict[int, _Extension]] = {
    HOP_BY_HOP: _options("hop-by-hop options"),
    ROUTING: _routing,
    FRAGMENT: _fragment,
    AUTHENTICATION: authentication,
    DESTINATION_OPTIONS: _options("destination options"),
}
