"""The header of PROXY protocol v2, at the beginning of a stream or a datagram (section 2.2)."""

from __future__ import annotations

from typing import Final

from lvsd.explain.headers.cursor import Cursor, Part, count, u16
from lvsd.packet.address import text
from lvsd.packet.client_address import PROXY_SIGNATURE

_FIXED: Final = 16
_COMMANDS: Final = {0: "LOCAL", 1: "PROXY"}
_FAMILIES: Final = {0: "unspecified", 1: "IPv4", 2: "IPv6", 3: "Unix"}
_TRANSPORTS: Final = {0: "unspecified", 1: "TCP", 2: "UDP"}
_WIDTHS: Final = {1: 4, 2: 16}


def proxy(c: Cursor) -> None:
    """Take the header apart if the bytes here begin with its signature, and step over it."""
    if c.room < _FIXED or c.peek(len(PROXY_SIGNATURE)) != PROXY_SIGNATURE:
        return
    head = c.peek(_FIXED)
    size = _FIXED + u16(head, 14)
    parts: list[Part] = [
        ("signature", head[:12].hex(" "), 0, 12),
        ("version", str(head[12] >> 4), 12, 1),
        ("command", _named(_COMMANDS, head[12] & 0x0F), 12, 1),
        ("family", _named(_FAMILIES, head[13] >> 4), 13, 1),
        ("transport", _named(_TRANSPORTS, head[13] & 0x0F), 13, 1),
        ("length", str(size - _FIXED), 14, 2),
    ]
    body, width, at = c.peek(size), _WIDTHS.get(head[13] >> 4), _FIXED
    if width and size >= _FIXED + 2 * width + 4:
        behind = _FIXED + 2 * width
        parts += [
            ("source", text(body[at : at + width]), at, width),
            ("destination", text(body[at + width : behind]), at + width, width),
            ("source port", str(u16(body, behind)), behind, 2),
            ("destination port", str(u16(body, behind + 2)), behind + 2, 2),
        ]
        at = behind + 4
    while at + 3 <= size and at + 3 + u16(body, at + 1) <= size:
        length = 3 + u16(body, at + 1)
        parts.append((f"TLV {body[at]:#04x}", count(length - 3), at, length))
        at += length
    if at < size:
        parts.append(("rest", count(size - at), at, size - at))
    c.header("PROXY v2", size, parts)


def _named(names: dict[int, str], number: int) -> str:
    return names.get(number, str(number))
