"""Options of TCP and of IPv4, which are written alike: each is a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain.headers.cursor import Cursor, Part, count, u16, u32
from lvsd.packet.address import endpoint
from lvsd.packet.client_address import UOA_KIND, parse_toa
from lvsd.packet.tcp_options import END, MSS, MSS_BYTES, NOP, SACK, TIMESTAMP, between

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_SCALE, SACK_PERMITTED = 3, 4
TOA_KINDS: Final = frozenset({253, 254})
"""Where TOA is looked for: two kinds for experiments (RFC 4727), which its public versions use."""

_IP_OPTIONS: Final = {7: "record route", 68: "timestamp", 148: "router alert"}
"""Option types of IPv4 (IANA, Internet Protocol Version 4 (IPv4) Parameters)."""


def option_parts(
    c: Cursor, at: int, end: int, read: Callable[[bytes], tuple[str, str]]
) -> list[Part]:
    """Return the options between two offsets of the header that begins here.

    NOPs in a row are one field. Behind the end of the list is padding; what cannot be an option
    is named so, with all that follows it.
    """
    parts: list[Part] = []
    for kind, place, length in between(c.data, c.at + at, min(c.at + end, c.end)):
        if kind != NOP:
            name, text = read(c.data[place : place + length])
            parts.append((f"option {name}", text, at, length))
        elif parts and parts[-1][0] == "option NOP":
            _, _, begin, run = parts.pop()
            parts.append(("option NOP", count(run + 1), begin, run + 1))
        else:
            parts.append(("option NOP", count(1), at, 1))
        at += length
    left = end - at
    if left > 0:
        ended = c.at + at < c.end and c.data[c.at + at] == END
        parts.append((f"option {'end' if ended else 'malformed'}", count(left), at, left))
    return parts


def ip_option(option: bytes) -> tuple[str, str]:
    """Return the name and the text of an option of IPv4."""
    client = parse_toa(option, UOA_KIND)
    if client:
        return "UOA", endpoint(*client)
    kind = option[0]
    return _IP_OPTIONS.get(kind, f"kind {kind}"), option[2:].hex(" ") or count(len(option))


def tcp_option(option: bytes) -> tuple[str, str]:
    """Return the name and the text of an option of TCP."""
    kind, length = option[0], len(option)
    if (kind, length) == (MSS, MSS_BYTES):
        return "MSS", str(u16(option, 2))
    if (kind, length) == (WINDOW_SCALE, 3):
        return "window scale", str(option[2])
    if (kind, length) == (SACK_PERMITTED, 2):
        return "SACK permitted", "yes"
    if (kind, length) == (TIMESTAMP, 10):
        return "timestamp", f"{u32(option, 2)} echo {u32(option, 6)}"
    if kind == SACK and length > 2 and length % 8 == 2:
        blocks = [f"{u32(option, at)}-{u32(option, at + 4)}" for at in range(2, length, 8)]
        return "SACK", " ".join(blocks)
    if kind in TOA_KINDS and (client := parse_toa(option, kind)):
        return "TOA", endpoint(*client)
    return f"kind {kind}", option[2:].hex(" ") or count(length)
