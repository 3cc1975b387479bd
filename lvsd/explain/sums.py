"""The arithmetic of a checksum that changed, by RFC 1624, equation 3: HC' = ~(~HC + ~m + m').

The words m and m' are read off the two frames, those of the pseudo header included; that the
equation leads from the old checksum to the new one is then a fact about these packets.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lvsd.explain.headers.checksums import checksums
from lvsd.explain.model import INNER, Sum
from lvsd.packet.layout import CHECKSUM_AT, IPV4_CHECKSUM
from lvsd.packet.numbers import PROTOCOL_NAMES
from lvsd.packet.view import TCP, UDP, Packet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.explain.model import Frame, Layer

Word: TypeAlias = "tuple[str, int]"
"""What a 16-bit word belongs to, and its value."""


def sums(before: Frame, after: Frame) -> tuple[Sum, ...]:
    """Return the arithmetic of each checksum that both frames have, if it changed.

    Where ``after`` is a tunnel's packet, it is that of the packet inside.
    """
    old, new = _Part.innermost(before), _Part.innermost(after)
    if old is None or new is None:
        return ()
    found = []
    if (old.packet.version, old.packet.protocol) == (new.packet.version, new.packet.protocol):
        if old.packet.version == 4:
            found.append(_header(old, new))
        fragment = old.packet.fragment or new.packet.fragment
        if new.packet.protocol in {TCP, UDP} and not fragment:
            found.append(_transport(old, new))
    return tuple(one for one in found if one is not None)


class _Part(NamedTuple):
    """An IP packet in a frame: where it begins there, and its layers' prefix."""

    packet: Packet
    frame: Frame
    at: int
    prefix: str

    @classmethod
    def innermost(cls, frame: Frame) -> _Part | None:
        """Return the packet inside of all tunnels, None where there is none."""
        packet = Packet()
        for prefix in (INNER, ""):
            layer = frame.get(f"{prefix}IPv4") or frame.get(f"{prefix}IPv6")
            if layer and packet.load(frame.data[layer.at :]) is None:
                return cls(packet, frame, layer.at, prefix)
        return None

    def sum(
        self, layer: str, field: str, was: int, now: int, words: tuple[tuple[str, int, int], ...]
    ) -> Sum:
        """Return the arithmetic of a checksum, with what it is over everything in this frame."""
        wholes = {(each.layer, each.field): each.whole for each in checksums(self.frame)}
        return Sum(layer, field, was, now, words, wholes.get((layer, field)))


def folded(one: Sum) -> Iterator[tuple[str, int]]:
    """Yield the steps of the equation: (what is added, the sum so far, folded to 16 bits)."""
    total = one.before ^ 0xFFFF
    yield "~HC", total
    for name, old, new in one.words:
        for term, value in ((f"~{old:#06x} {name}", old ^ 0xFFFF), (f"{new:#06x} {name}", new)):
            total += value
            total = (total & 0xFFFF) + (total >> 16)
            yield term, total


def result(one: Sum) -> int:
    """Return the checksum that the equation leads to."""
    *_, (_, total) = folded(one)
    return total ^ 0xFFFF


def _header(old: _Part, new: _Part) -> Sum | None:
    headers = [part.packet.data[: (part.packet.data[0] & 0x0F) << 2] for part in (old, new)]
    was, now = (int.from_bytes(header[10:12], "big") for header in headers)
    if was == now:
        return None
    words = [
        _words(header, part, 0, IPV4_CHECKSUM)
        for header, part in zip(headers, (old, new), strict=True)
    ]
    return new.sum(f"{new.prefix}IPv4", "header checksum", was, now, _difference(*words))


def _transport(old: _Part, new: _Part) -> Sum | None:
    protocol = new.packet.protocol
    at = CHECKSUM_AT[protocol]
    segments = [part.packet.data[part.packet.l4 : part.packet.end] for part in (old, new)]
    was, now = (int.from_bytes(segment[at : at + 2], "big") for segment in segments)
    if was == now or not (was and now):
        return None
    words = [
        [
            *_named("pseudo header: source", part.packet.source),
            *_named("pseudo header: destination", part.packet.destination),
            *_named("pseudo header: length", len(segment).to_bytes(4, "big")),
            *_words(segment, part, part.packet.l4, at),
        ]
        for part, segment in zip((old, new), segments, strict=True)
    ]
    name = f"{new.prefix}{PROTOCOL_NAMES[protocol]}"
    return new.sum(name, "checksum", was, now, _difference(*words))


def _named(name: str, data: bytes) -> list[Word]:
    return [(name, int.from_bytes(data[at : at + 2], "big")) for at in range(0, len(data), 2)]


def _words(data: bytes, part: _Part, start: int, skipped: int) -> list[Word]:
    """Return the words of some bytes at ``start`` in a packet, but for the checksum in them."""
    padded = data + bytes(len(data) % 2)
    return [
        (_name(part.frame, part.at + start + at), int.from_bytes(padded[at : at + 2], "big"))
        for at in range(0, len(padded), 2)
        if at != skipped
    ]


def _name(frame: Frame, at: int) -> str:
    """Return the names of the fields that a word of the frame is part of."""
    names: dict[str, None] = {}
    for layer in frame.layers:
        if layer.at <= at < layer.at + layer.length:
            names |= dict.fromkeys(_covering(layer, at))
    return ", ".join(names) or "payload"


def _covering(layer: Layer, at: int) -> Iterator[str]:
    for field in layer.fields:
        if field.at < at + 2 and at < field.at + field.length:
            yield field.name


def _difference(old: list[Word], new: list[Word]) -> tuple[tuple[str, int, int], ...]:
    """Return (name, old, new) of the words that differ; 0 is what one was, or is, that is not."""
    old, new = _without_common_ends(old, new)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    found: list[tuple[str, int, int]] = []
    for tag, low, high, first, last in matcher.get_opcodes():
        if tag == "equal":
            continue
        gone, come = old[low:high], new[first:last]
        size = max(len(gone), len(come))
        for index in range(size):
            was = gone[index] if index < len(gone) else None
            now = come[index] if index < len(come) else None
            name = (now or was or ("", 0))[0]
            found.append((name, was[1] if was else 0, now[1] if now else 0))
    return tuple(word for word in found if word[1] != word[2])


def _without_common_ends(old: list[Word], new: list[Word]) -> tuple[list[Word], list[Word]]:
    """Return what is between the first and the last word that differ: the payload is long."""
    shorter = min(len(old), len(new))
    start = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    room = shorter - start
    same = next((at for at in range(room) if old[-1 - at] != new[-1 - at]), room)
    return old[start : len(old) - same], new[start : len(new) - same]
