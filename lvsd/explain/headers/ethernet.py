"""Ethernet, 802.1Q tags (IEEE 802.1Q, section 9.6) and ARP (RFC 826)."""

from __future__ import annotations

from typing import Final

from lvsd.explain.headers.cursor import Cursor, Follow, Part, u16
from lvsd.packet.address import text

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
ARP: Final = 0x0806
TAGS: Final = (0x8100, 0x88A8)

_NAMES: Final = {IPV4: "IPv4", IPV6: "IPv6", ARP: "ARP", 0x8100: "802.1Q", 0x88A8: "802.1ad"}
_LEAST_TYPE: Final = 0x600
"""What is less is a length (IEEE 802.3, section 3.2.6)."""

_OPERATIONS: Final = {1: "request", 2: "reply"}


def ethertype(number: int) -> str:
    """Return what people call an Ethernet type."""
    return _NAMES.get(number, f"{number:#06x}")


def ethernet(c: Cursor) -> Follow | None:
    """Take an Ethernet header apart: 14 bytes."""
    head = c.peek(14)
    addresses: list[Part] = [
        ("destination", head[:6].hex(":"), 0, 6),
        ("source", head[6:12].hex(":"), 6, 6),
    ]
    return _typed(c, "Ethernet", addresses, 12)


def tag(c: Cursor) -> Follow | None:
    """Take an 802.1Q tag apart, from behind the type that announced it: 4 bytes."""
    control = u16(c.peek(4), 0)
    parts: list[Part] = [
        ("priority", str(control >> 13), 0, 1),
        ("drop eligible", "yes" if control & 0x1000 else "no", 0, 1),
        ("VLAN", str(control & 0xFFF), 0, 2),
    ]
    return _typed(c, "802.1Q", parts, 2)


def _typed(c: Cursor, name: str, parts: list[Part], at: int) -> Follow | None:
    """Take a header apart that ends with a type at ``at``, or with a length."""
    number = u16(c.peek(at + 2), at)
    if number < _LEAST_TYPE:
        if c.header(name, at + 2, [*parts, ("length", str(number), at, 2)]):
            c.ends(number, behind="padding")
        return None
    if c.header(name, at + 2, [*parts, ("type", ethertype(number), at, 2)]):
        return Follow("ethertype", number)
    return None


def arp(c: Cursor) -> None:
    """Take ARP apart; what follows it is padding."""
    head = c.peek(8)
    hardware, protocol, size, width = u16(head, 0), u16(head, 2), head[4], head[5]
    operation = u16(head, 6)
    parts: list[Part] = [
        ("hardware type", "Ethernet" if hardware == 1 else str(hardware), 0, 2),
        ("protocol type", ethertype(protocol), 2, 2),
        ("hardware length", str(size), 4, 1),
        ("protocol length", str(width), 5, 1),
        ("operation", _OPERATIONS.get(operation, str(operation)), 6, 2),
    ]
    length = 8 + 2 * (size + width)
    body, at = c.peek(length), 8
    for who in ("sender", "target"):
        mac, address = body[at : at + size], body[at + size : at + size + width]
        said = text(address) if (protocol, width) == (IPV4, 4) else address.hex(":")
        parts += [
            (f"{who} MAC", mac.hex(":"), at, size),
            (f"{who} address", said, at + size, width),
        ]
        at += size + width
    if c.header("ARP", length, parts):
        c.ends(0, behind="padding")
