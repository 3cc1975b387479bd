"""TCP's options: found in whatever a sender put there, and the MSS lowered.

An option is a kind, and for all but `END` and `NOP` a length that counts both (RFC 9293, section
3.1). The walk goes by the packet's own bounds and ends at the first option that cannot be.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import apply, delta
from lvsd.packet.layout import CHECKSUM_AT, LEAST_BYTES, OFFSET_AT
from lvsd.packet.numbers import TCP, TcpFlag

if TYPE_CHECKING:
    from lvsd.packet.view import Packet

END: Final = 0
"""End of the list; what follows is padding."""
NOP: Final = 1
MSS: Final = 2
"""Maximum segment size: in a SYN, the payload that its sender takes at once (RFC 9293, 3.7.1)."""
SACK: Final = 5
"""Selective acknowledgement (RFC 2018): pairs of sequence numbers."""
TIMESTAMP: Final = 8
"""The sender's clock and the echo of the other's (RFC 7323, section 3)."""

MSS_BYTES: Final = 4
"""An MSS option of any other length is none."""

_HEADER: Final = LEAST_BYTES[TCP]
_U16: Final = Struct("!H")


def options(packet: Packet) -> list[tuple[int, int, int]]:
    """Return (kind, offset in ``data``, length in bytes) of each option, in order.

    `NOP` is listed, with length 1; `END` and what follows it is not. For any loaded packet, whole
    or quoted: what is no TCP, or cut before its options, has none.
    """
    data, l4 = packet.data, packet.l4
    if packet.protocol != TCP or packet.fragment_offset or l4 + _HEADER > packet.end:
        return []
    return between(data, l4 + _HEADER, min(l4 + (data[l4 + OFFSET_AT] >> 4 << 2), packet.end))


def between(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Return the options from ``at`` up to ``end``, as `options` does; IPv4's are written alike."""
    found: list[tuple[int, int, int]] = []
    while at < end and (kind := data[at]) != END:
        if kind == NOP:
            length = 1
        elif at + 1 == end or (length := data[at + 1]) < 2 or at + length > end:
            break
        found.append((kind, at, length))
        at += length
    return found


def find(packet: Packet, kind: int) -> int | None:
    """Return where in ``data`` the first option of a kind begins, or None."""
    return next((at for which, at, _ in options(packet) if which == kind), None)


def clamp_mss(data: bytes | bytearray, packet: Packet, mss: int) -> bytes:
    """Return a SYN whose MSS is ``mss`` bytes at most; a lower one, and every other packet, stays.

    ``data`` is the packet as it was loaded, or the same with new ends: what is laid out alike. The
    checksum is updated by the difference. A SYN without the option gets none.
    """
    if not packet.flags & TcpFlag.SYN:
        return bytes(data)
    out = bytearray(data)
    for kind, at, length in options(packet):
        if kind == MSS and length == MSS_BYTES and _U16.unpack_from(out, at + 2)[0] > mss:
            # Behind a single NOP the value lies across two of the words that the checksum adds up.
            words = slice(at + 2 & ~1, at + 5 & ~1)
            before = bytes(out[words])
            _U16.pack_into(out, at + 2, mss)
            check = packet.l4 + CHECKSUM_AT[TCP]
            value = apply(_U16.unpack_from(out, check)[0], delta(before, bytes(out[words])))
            _U16.pack_into(out, check, value)
    return bytes(out)
