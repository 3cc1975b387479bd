"""TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260)."""

from __future__ import annotations

from typing import Final

from lvsd.explain.headers.cursor import Cursor, Follow, Part, count, excerpt, u16, u32
from lvsd.explain.headers.options import option_parts, tcp_option
from lvsd.explain.headers.proxy import proxy
from lvsd.explain.headers.tunnels import gue
from lvsd.packet.numbers import Chunk, TcpFlag
from lvsd.packet.view import Fault

_CHUNKS: Final = {chunk.value: chunk.name.replace("_", " ") for chunk in Chunk}
_DATA_HEADER: Final = 16


def tcp(c: Cursor) -> None:
    """Take a TCP header apart: 20 to 60 bytes, and PROXY protocol's behind it."""
    head = c.peek(20)
    size = head[12] >> 4 << 2
    flags = [flag.name for flag in TcpFlag if head[13] & flag and flag.name]
    parts: list[Part] = [
        *_ports(head),
        ("sequence number", str(u32(head, 4)), 4, 4),
        ("acknowledgement number", str(u32(head, 8)), 8, 4),
        ("data offset", str(size), 12, 1),
        ("reserved", str(head[12] & 0x0F), 12, 1),
        ("flags", " ".join(flags) or "none", 13, 1),
        ("window", str(u16(head, 14)), 14, 2),
        ("checksum", f"{u16(head, 16):#06x}", 16, 2),
        ("urgent pointer", str(u16(head, 18)), 18, 2),
        *option_parts(c, 20, size, tcp_option),
    ]
    # A packet that is all here has no bytes beyond it that could be missing.
    fault = Fault.BAD_HEADER_LENGTH if c.whole and c.room >= 20 else Fault.TRUNCATED
    if c.header("TCP", max(size, 20), parts, fault):
        if size < 20:
            c.malformed(Fault.BAD_HEADER_LENGTH)
        proxy(c)


def udp(c: Cursor) -> Follow | None:
    """Take a UDP header apart, 8 bytes, and the head of a tunnel or PROXY protocol's behind it."""
    head = c.peek(8)
    length = u16(head, 4)
    parts: list[Part] = [
        *_ports(head),
        ("length", str(length), 4, 2),
        ("checksum", f"{u16(head, 6):#06x}", 6, 2),
    ]
    if not c.header("UDP", 8, parts):
        return None
    if length < 8:
        c.malformed(Fault.BAD_LENGTH)
        return None
    if length - 8 > c.room:
        c.lacks(Fault.BAD_LENGTH)
    else:
        c.ends(length - 8, behind="surplus")
    if u16(head, 2) in c.gue_ports:
        return gue(c)
    proxy(c)
    return None


def sctp(c: Cursor) -> None:
    """Take an SCTP header apart, 12 bytes, and the chunks behind it, each of which is a field."""
    head = c.peek(12)
    parts: list[Part] = [
        *_ports(head),
        ("verification tag", f"{u32(head, 4):#010x}", 4, 4),
        ("checksum", f"{u32(head, 8):#010x}", 8, 4),
    ]
    at, fault = 12, None
    while at + 4 <= c.room and fault is None:
        kind, length = c.data[c.at + at], u16(c.data, c.at + at + 2)
        room = c.room - at
        if length < 4 or (length > room and c.whole):
            fault = Fault.BAD_LENGTH
            break
        padded = min(length + 3 & ~3, room)
        name = _CHUNKS.get(kind, str(kind))
        parts.append((f"chunk {name}", _chunk(c, kind, at, min(length, room)), at, padded))
        at += padded
    if c.header("SCTP", at, parts) and c.room and (fault or c.whole):
        c.malformed(fault or Fault.TRUNCATED)


def _chunk(c: Cursor, kind: int, at: int, length: int) -> str:
    if kind == Chunk.DATA and length > _DATA_HEADER:
        return excerpt(c.data[c.at + at + _DATA_HEADER : c.at + at + length])
    return count(length)


def _ports(head: bytes) -> tuple[Part, Part]:
    return (
        ("source port", str(u16(head, 0)), 0, 2),
        ("destination port", str(u16(head, 2)), 2, 2),
    )
