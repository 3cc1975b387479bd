"""The place that a dissection has come to, and the layers that it has found on its way."""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from lvsd.explain.model import Field, Layer
from lvsd.packet.view import QUOTED_BYTES, Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Part: TypeAlias = tuple[str, str, int, int]
"""A field before its place is known: name, text, offset in its header, length."""

MAX_INSIDE: Final = 4
"""Packets in packets are taken apart this deep; what is further inside is payload."""

EXCERPT_BYTES: Final = 32
_HEX_BYTES: Final = 16

_U16: Final = Struct("!H").unpack_from
_U32: Final = Struct("!I").unpack_from


class Follow(NamedTuple):
    """What comes next, by the number that a header has for it."""

    by: Literal["ethertype", "protocol"]
    number: int


class Cursor:
    """Where a dissection is: at ``at``, in a packet that ends at ``end``.

    ``prefix`` stands before the names of layers: "inner ", "quoted ". ``quoted``: this is what an
    ICMP error quotes, and may end early. ``whole``: all of the packet is here; it is no fragment,
    not cut off, not quoted. After a ``fault`` was found nothing else is looked for.
    """

    __slots__ = (
        "_owed",
        "_taken",
        "_trailers",
        "at",
        "data",
        "end",
        "fault",
        "gue_ports",
        "inside",
        "layers",
        "prefix",
        "quoted",
        "whole",
    )

    def __init__(self, data: bytes, gue_ports: Collection[int]) -> None:
        self.data = data
        self.gue_ports = gue_ports
        self.at = 0
        self.end = len(data)
        self.prefix = ""
        self.inside = 0
        self.quoted = False
        self.whole = True
        self.fault: Fault | None = None
        self.layers: list[Layer] = []
        self._owed: int | None = None
        self._taken = Names()
        self._trailers: list[tuple[str, int, int]] = []

    @property
    def room(self) -> int:
        """The bytes from here to the packet's end."""
        return self.end - self.at

    def peek(self, length: int) -> bytes:
        """Return the bytes from here; zeros stand for those that are not there."""
        return self.data[self.at : min(self.at + length, self.end)].ljust(length, b"\0")

    def header(
        self, name: str, length: int, parts: Sequence[Part], fault: Fault = Fault.TRUNCATED
    ) -> bool:
        """Add a header that begins here, and step over it; tell whether all of it was there.

        Of one that is not, the fields that are there are added; the rest is malformed, by
        ``fault``, unless it is in a quote that has as much as it has to have.
        """
        room = self.room
        if length <= room:
            self._add(name, length, parts)
            return True
        kept = [part for part in parts if part[2] + part[3] <= room]
        covered = max((part[2] + part[3] for part in kept), default=0)
        if self._owed is not None and self.end >= self._owed:
            if covered < room:
                kept.append(("cut off", count(room - covered), covered, room - covered))
            if room:
                self._add(name, room, kept)
            return False
        if covered:
            self._add(name, covered, kept)
        self.malformed(fault)
        return False

    def malformed(self, fault: Fault) -> None:
        """Add what is left of the packet as a layer that says what is wrong with it."""
        if self.fault is None:
            self.fault = fault
            self.prefix = ""
            self._add("malformed", self.room, (("fault", fault.value, 0, self.room),))

    def transport(self) -> None:
        """Say that a transport header begins here; a quote has to have 8 bytes of the first one."""
        if self.quoted and self._owed is None:
            self._owed = self.at + QUOTED_BYTES

    def ends(self, length: int, *, behind: str) -> None:
        """Let the packet be over after ``length`` bytes from here; ``behind`` is what follows.

        If there is less, the packet is cut off.
        """
        end = self.at + length
        if end > self.end:
            self.lacks(Fault.TRUNCATED)
        elif end < self.end:
            self._trailers.append((self.prefix + behind, end, self.end))
            self.end = end

    def lacks(self, fault: Fault) -> None:
        """Say after the packet, unless that was to be expected, that not all of it is there."""
        if self.whole and self.fault is None:
            self._trailers.append((fault.name, self.end, self.end))
        self.whole = False

    def enter(self, prefix: str) -> bool:
        """Begin a packet inside this one; tell whether it is to be taken apart."""
        self.inside += 1
        if self.inside > MAX_INSIDE:
            return False
        self.prefix += prefix
        return True

    def close(self) -> None:
        """Add the payload, and what stands behind the packets' ends."""
        if self.room > 0:
            self._bytes(self.prefix + "payload", self.at, self.end)
        for name, at, end in reversed(self._trailers):
            self.at, self.end, self.prefix = at, end, ""
            if name in Fault.__members__:
                self.malformed(Fault[name])
            else:
                self._bytes(name, at, end)

    def _bytes(self, name: str, at: int, end: int) -> None:
        self.at, self.prefix = at, ""
        self._add(name, end - at, (("data", excerpt(self.data[at:end]), 0, end - at),))

    def _add(self, name: str, length: int, parts: Sequence[Part]) -> None:
        begin = self.at
        fields = tuple([Field(part, text, begin + at, size) for part, text, at, size in parts])
        if len({field.name for field in fields}) < len(fields):
            unique = Names().unique
            fields = tuple([replace(field, name=unique(field.name)) for field in fields])
        self.layers.append(Layer(self._taken.unique(self.prefix + name), self.at, length, fields))
        self.at += length


class Names:
    """Names that were given: each once, a second one with a number behind it."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, or "name 2" if it was given before, or "name 3"."""
        times = self._given[name] = self._given.get(name, 0) + 1
        return name if times == 1 else f"{name} {times}"


def u16(data: bytes, at: int) -> int:
    """Return the 16-bit number at an offset."""
    number: int = _U16(data, at)[0]
    return number


def u32(data: bytes, at: int) -> int:
    """Return the 32-bit number at an offset."""
    number: int = _U32(data, at)[0]
    return number


def count(length: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{length} byte" if length == 1 else f"{length} bytes"


def excerpt(data: bytes) -> str:
    """Return the first line of a text, or the first bytes in hexadecimal, and how many there are.

    ``GET / HTTP/1.1..., 74 bytes``
    """
    line = data[: EXCERPT_BYTES + 1].splitlines()[0] if data else b""
    shown = line[:EXCERPT_BYTES]
    if shown and shown.isascii() and shown.decode("ascii").isprintable():
        said = shown.decode("ascii")
    else:
        shown = data[:_HEX_BYTES]
        said = shown.hex(" ")
    rest = data[len(shown) :].strip(b"\r\n")
    return f"{said}{'...' if rest else ''}, {count(len(data))}" if data else count(0)
