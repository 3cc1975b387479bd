"""ICMP (RFC 792) and ICMPv6 (RFC 4443); of errors, the packet that they quote."""

from __future__ import annotations

from typing import Final

from lvsd.explain.headers.cursor import Cursor, Follow, Part, u16, u32
from lvsd.explain.headers.ethernet import IPV4, IPV6
from lvsd.packet.address import text
from lvsd.packet.icmp import HEADER_BYTES, INFORMATIONAL, NEVER_ANSWERED
from lvsd.packet.numbers import Icmp, Icmp6

_TYPES: Final = {kind.value: kind.name.lower().replace("_", " ") for kind in Icmp}
_TYPES_6: Final = {kind.value: kind.name.lower().replace("_", " ") for kind in Icmp6}
_FRAGMENTATION_NEEDED: Final = 4


def icmp(c: Cursor) -> Follow | None:
    """Take ICMP's header apart: 8 bytes."""
    head = c.peek(HEADER_BYTES)
    kind, code = head[0], head[1]
    if kind in {Icmp.ECHO, Icmp.ECHO_REPLY}:
        rest = _echo(head)
    elif (kind, code) == (Icmp.UNREACHABLE, _FRAGMENTATION_NEEDED):
        rest = [("unused", f"{u16(head, 4):#06x}", 4, 2), ("next-hop MTU", str(u16(head, 6)), 6, 2)]
    elif kind == Icmp.REDIRECT:
        rest = [("gateway", text(head[4:]), 4, 4)]
    elif kind == Icmp.PARAMETER_PROBLEM:
        unused = f"0x{head[5:].hex()}"
        rest = [("pointer", str(head[4]), 4, 1), ("unused", unused, 5, 3)]
    else:
        rest = [("rest", f"{u32(head, 4):#010x}", 4, 4)]
    parts = [*_lead(head, _TYPES), *rest]
    return _quoting(c, "ICMP", parts, IPV4 if kind in NEVER_ANSWERED else 0)


def icmpv6(c: Cursor) -> Follow | None:
    """Take ICMPv6's header apart: 8 bytes."""
    head = c.peek(HEADER_BYTES)
    kind = head[0]
    if kind in {Icmp6.ECHO, Icmp6.ECHO_REPLY}:
        rest = _echo(head)
    elif kind == Icmp6.TOO_BIG:
        rest = [("MTU", str(u32(head, 4)), 4, 4)]
    elif kind == Icmp6.PARAMETER_PROBLEM:
        rest = [("pointer", str(u32(head, 4)), 4, 4)]
    else:
        rest = [("rest", f"{u32(head, 4):#010x}", 4, 4)]
    parts = [*_lead(head, _TYPES_6), *rest]
    return _quoting(c, "ICMPv6", parts, IPV6 if kind < INFORMATIONAL else 0)


def _lead(head: bytes, types: dict[int, str]) -> list[Part]:
    return [
        ("type", types.get(head[0], str(head[0])), 0, 1),
        ("code", str(head[1]), 1, 1),
        ("checksum", f"{u16(head, 2):#06x}", 2, 2),
    ]


def _echo(head: bytes) -> list[Part]:
    return [
        ("identifier", str(u16(head, 4)), 4, 2),
        ("sequence number", str(u16(head, 6)), 6, 2),
    ]


def _quoting(c: Cursor, name: str, parts: list[Part], ethertype: int) -> Follow | None:
    """Add the header; go on to what it quotes, unless it is in a quote itself."""
    if c.header(name, HEADER_BYTES, parts) and ethertype and c.room and not c.quoted:
        if not c.enter("quoted "):
            return None
        c.quoted, c.whole = True, False
        return Follow("ethertype", ethertype)
    return None
