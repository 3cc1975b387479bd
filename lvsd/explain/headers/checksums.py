"""Every checksum of a frame, computed anew over all that it covers."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.packet.checksum import checksum, crc32c, transport_checksum
from lvsd.packet.numbers import ICMPV6, TCP, UDP

if TYPE_CHECKING:
    from lvsd.explain.model import Field, Frame, Layer

_PSEUDO: Final = {"TCP": TCP, "UDP": UDP, "ICMPv6": ICMPV6}
"""The protocols whose checksums cover a pseudo header, and their numbers in it."""

_CRC: Final = Struct("!I").unpack


class Checksum(NamedTuple):
    """A checksum: its place, its value, and ``whole``, which it has if it is right.

    ``whole`` is None where that is not known: UDP's 0 says that its sender computed none, and of
    a fragment, or of what an ICMP error quotes, not all bytes that it covers are here. Where the
    sum of 16-bit words allows 0, both zeros of one's complement are right, and whole is the one
    that is there: Linux sends 0xffff, over TCP too, when it finishes a checksum in software
    (skb_checksum_help).
    """

    layer: str
    field: str
    value: int
    whole: int | None


def checksums(frame: Frame) -> list[Checksum]:
    """Return the checksums of a frame, in the order of its layers."""
    found: list[Checksum] = []
    packet: _Packet | None = None
    for layer in frame.layers:
        kind = _kind(layer)
        if kind in {"IPv4", "IPv6"}:
            packet = _packet(layer, packet.end if packet else len(frame.data))
        if packet is None:
            continue
        if kind == "header" and "fragment header" in layer.name and is_cut_up(layer):
            packet = packet._replace(whole=False)
        field = layer.get("header checksum") or layer.get("checksum")
        if field is None:
            continue
        value, whole = int(field.text, 16), None
        if kind == "IPv4":
            if layer.length == _number(layer, "header length"):
                header = _without(frame.data, layer.at, layer.at + layer.length, field)
                whole = checksum(header)
        elif packet.whole:
            whole = _transport(frame.data, layer, field, packet)
        if (value, whole) == (0xFFFF, 0) and kind != "SCTP":
            whole = value
        found.append(Checksum(layer.name, field.name, value, whole))
    return found


class _Packet(NamedTuple):
    """An IP packet: its end in the frame, and whether all that a checksum covers is there."""

    layer: Layer
    end: int
    whole: bool


def _packet(layer: Layer, limit: int) -> _Packet:
    """Return the packet whose header a layer is; it is in something that ends at ``limit``."""
    if layer.get("destination") is None or "quoted" in layer.name:
        return _Packet(layer, limit, whole=False)
    if _kind(layer) == "IPv4":
        end = layer.at + _number(layer, "total length")
    else:
        end = layer.at + layer.length + _number(layer, "payload length")
    return _Packet(layer, min(end, limit), end <= limit and not is_cut_up(layer))


def _kind(layer: Layer) -> str:
    """Return the last word of a layer's name, but for a number that tells it from another."""
    return [word for word in layer.name.split() if not word.isdigit()][-1]


def _number(layer: Layer, name: str) -> int:
    field = layer.get(name)
    return int(field.text) if field else 0


def is_cut_up(layer: Layer) -> bool:
    """Tell whether a header of IP says that this is a fragment."""
    flags, offset = layer.get("flags"), layer.get("fragment offset")
    return bool((flags and "MF" in flags.text) or (offset and offset.text != "0"))


def _transport(data: bytes, layer: Layer, field: Field, packet: _Packet) -> int | None:
    """Return what a checksum has to be, None if it is unused or covers more than there is."""
    kind, at, end = _kind(layer), layer.at, packet.end
    if kind == "SCTP":
        number: int = _CRC(crc32c(data[at : field.at] + bytes(4) + data[field.at + 4 : end]))[0]
        return number
    if kind == "UDP":
        length = _number(layer, "length")
        if int(field.text, 16) == 0 or at + length > end:
            return None
        end = at + length
    source, destination = (packet.layer.get(name) for name in ("source", "destination"))
    if kind not in _PSEUDO or not source or not destination:
        return checksum(_without(data, at, end, field))
    whole = transport_checksum(
        _without(data, at, end, field),
        _PSEUDO[kind],
        data[source.at : source.at + source.length],
        data[destination.at : destination.at + destination.length],
    )
    return (whole or 0xFFFF) if kind == "UDP" else whole


def _without(data: bytes, at: int, end: int, own: Field) -> bytes:
    """Return some bytes with zeros in place of their checksum."""
    return data[at : own.at] + bytes(2) + data[own.at + 2 : end]
