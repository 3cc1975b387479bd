"""Edits of a TCP header that is copied out of its packet, to be put together again.

``found`` is what `options` found in the packet, and ``l4`` where its header began there. Nothing
here looks after the checksum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.layout import LEAST_BYTES, OFFSET_AT
from lvsd.packet.numbers import TCP
from lvsd.packet.tcp_options import MSS, MSS_BYTES, NOP, SACK, TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

MAX_BYTES: Final = 60
"""A header with all the options that it can have."""

_LEAST: Final = LEAST_BYTES[TCP]
_KEPT: Final = frozenset({TIMESTAMP, SACK})
_BLOCK: Final = 8

Found = list[tuple[int, int, int]]


def blank(header: bytearray, found: Found, l4: int, kinds: Container[int]) -> list[int]:
    """Overwrite the options of some kinds with NOPs; return which there were."""
    taken = []
    for kind, at, length in found:
        if kind in kinds:
            header[at - l4 : at - l4 + length] = bytes((NOP,)) * length
            taken.append(kind)
    return taken


def insert(header: bytearray, found: Found, l4: int, option: bytes) -> bytearray | None:
    """Return the header of a packet without SYN, with an option right behind its first 20 bytes.

    ``option`` is a multiple of 4 bytes long. Where it has no room beside all others, it has those
    beside it that an open connection goes on using, timestamps and SACK; None if that is still
    too much.
    """
    others: Sequence[int] = header[_LEAST:]
    if len(header) + len(option) > MAX_BYTES:
        kept = b"".join(
            header[at - l4 : at - l4 + length] for kind, at, length in found if kind in _KEPT
        )
        others = bytes((NOP,)) * (-len(kept) % 4) + kept
        if _LEAST + len(option) + len(others) > MAX_BYTES:
            return None
    out = header[:_LEAST] + option + bytes(others)
    out[OFFSET_AT] = len(out) << 2 | out[OFFSET_AT] & 0x0F
    return out


def lower_mss(header: bytearray, found: Found, l4: int, by: int) -> None:
    """Lower the MSS by some bytes, if it is more than that."""
    for kind, at, length in found:
        value = slice(at - l4 + 2, at - l4 + MSS_BYTES)
        if kind == MSS and length == MSS_BYTES:
            mss = int.from_bytes(header[value], "big")
            header[value] = (mss - by if mss > by else mss).to_bytes(2, "big")


def move_sack(header: bytearray, found: Found, l4: int, move: Callable[[int], int]) -> None:
    """Map both edges of every SACK block; a block that this leaves empty goes (RFC 2018)."""
    for kind, at, length in found:
        if kind != SACK or length % _BLOCK != 2:
            continue
        start = at - l4
        blocks = b""
        for edge in range(start + 2, start + length, _BLOCK):
            left, right = (
                move(int.from_bytes(header[one : one + 4], "big")).to_bytes(4, "big")
                for one in (edge, edge + 4)
            )
            if left != right:
                blocks += left + right
        option = bytes((SACK, 2 + len(blocks))) + blocks if blocks else b""
        header[start : start + length] = option.ljust(length, bytes((NOP,)))
