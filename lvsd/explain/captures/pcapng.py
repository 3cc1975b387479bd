"""pcapng (draft-ietf-opsawg-pcapng): sections of either byte order, made of blocks.

A block begins with its kind and its length, and ends with its length again. Those that hold no
packet and describe no interface are skipped.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.explain.captures.source import MAX_PACKET, S
from lvsd.explain.headers.cursor import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.explain.captures.source import Captured, Source

SECTION: Final = b"\x0a\x0d\x0d\x0a"
"""A pcapng's first bytes: the kind of the block that begins a section, in any byte order."""

_ORDERS: Final = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6
_PACKETS: Final = frozenset({_OLD_PACKET, _SIMPLE_PACKET, _PACKET})
_RESOLUTION, _OFFSET = 9, 14
"""Options of an interface: if_tsresol, if_tsoffset."""

_MAX_BLOCK: Final = 2 * MAX_PACKET
"""A packet's block with its options."""


class _Interface(NamedTuple):
    """What a section says of an interface; its clock ticks ``ticks`` times a second."""

    link_type: int
    kept: int
    ticks: int
    offset_s: int


def sections(source: Source) -> Iterator[Captured]:
    """Yield the packets of a pcapng, from behind its first 4 bytes."""
    kind = SECTION
    order = "<"
    interfaces: list[_Interface] = []
    while kind:
        begin = source.at - len(kind)
        if len(kind) < 4:
            raise source.error(
                f"cut off at byte {begin} of {source.at}: a block begins, and does not go on"
            )
        what = f"the block at byte {begin}"
        if kind == SECTION:
            head = source.need(8, "the header of a section")
            order = _ORDERS.get(head[4:], "")
            if not order:
                raise source.error(f"{what} begins a section of no known byte order")
            interfaces = []
            _close(source, order, what, head[:4], 12)
        else:
            number = Struct(order + "I").unpack(kind)[0]
            if number in _PACKETS:
                what = f"packet {source.number + 1}"
            length = source.need(4, what)
            keep = number in _PACKETS or number == _INTERFACE
            body = _close(source, order, what, length, 8, keep=keep)
            if number == _INTERFACE:
                interfaces.append(_interface(source, order, what, body))
            elif number in _PACKETS:
                source.number += 1
                yield _block_packet(source, order, begin, number, body, interfaces)
        kind = source.get(4)


def _close(
    source: Source, order: str, what: str, field: bytes, done: int, *, keep: bool = False
) -> bytes:
    """Return what a block holds, from behind its first ``done`` bytes, if it is to be kept."""
    length = Struct(order + "I").unpack(field)[0]
    rest = length - done - 4
    if length % 4 or rest < 0 or (keep and length > _MAX_BLOCK):
        raise source.error(f"{what} says that it has {count(length)}, which cannot be")
    body = b""
    if keep:
        body = source.need(rest, what)
    else:
        source.skip(rest, what)
    if source.need(4, what) != field:
        raise source.error(f"{what} says another length at its end than at its beginning")
    return body


def _interface(source: Source, order: str, what: str, body: bytes) -> _Interface:
    if len(body) < 8:
        raise source.error(f"{what} is too short for an interface")
    link_type, kept = Struct(order + "HxxI").unpack_from(body)
    ticks, offset, at = 1_000_000, 0, 8
    option = Struct(order + "HH")
    while at + 4 <= len(body):
        code, length = option.unpack_from(body, at)
        value = body[at + 4 : at + 4 + length]
        if code == _RESOLUTION and len(value) == 1:
            ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OFFSET and len(value) == 8:
            offset = Struct(order + "q").unpack(value)[0]
        at += 4 + (length + 3 & ~3)
    return _Interface(link_type, kept, ticks, offset)


def _block_packet(
    source: Source, order: str, begin: int, number: int, body: bytes, interfaces: list[_Interface]
) -> Captured:
    """Return the packet in one of the three kinds of blocks."""
    head = Struct(order + {_PACKET: "IIIII", _OLD_PACKET: "HxxIIII", _SIMPLE_PACKET: "I"}[number])
    what = f"packet {source.number}, at byte {begin},"
    if len(body) < head.size:
        raise source.error(f"{what} is too short for its header")
    index, high, low, kept, length = 0, 0, 0, 0, 0
    if number == _SIMPLE_PACKET:
        (length,) = head.unpack_from(body)
    else:
        index, high, low, kept, length = head.unpack_from(body)
    if index >= len(interfaces):
        raise source.error(f"{what} is of interface {index}, which the file does not describe")
    interface = interfaces[index]
    if number == _SIMPLE_PACKET:
        kept = min(length, interface.kept or length)
    source.sane(kept, begin)
    if kept > len(body) - head.size:
        raise source.error(
            f"{what} says that it has {count(kept)}, its block has {len(body) - head.size}"
        )
    ticks = high << 32 | low
    time_ns = interface.offset_s * S + ticks * S // interface.ticks
    data = body[head.size : head.size + kept]
    return source.packet(time_ns, interface.link_type, data, length)
