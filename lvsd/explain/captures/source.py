"""A capture file as it is read: its packets, the place in it, and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from lvsd.errors import DataError, InputError
from lvsd.explain.captures.links import ETHERNET, LINKS, NAMES, ip_packet
from lvsd.explain.headers.cursor import count

MAX_PACKET: Final = 256 * 1024
"""More bytes no packet has: what tcpdump cuts packets at."""

S: Final = 1_000_000_000
"""A second, in nanoseconds."""


class CaptureError(DataError):
    """A file is no capture that can be read, or ends too early."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet of a capture file, and when it came by.

    ``packet`` is the IP packet, with any padding of its frame; empty if it is something else.
    ``frame`` is the Ethernet frame around it, None where the link is of another type. ``length``
    is how many bytes it had on the wire, with its link's header; ``cut``: fewer were kept.
    """

    time_ns: int
    packet: bytes
    frame: bytes | None
    link_type: int
    length: int
    cut: bool

    @property
    def time_s(self) -> float:
        """Seconds since 1970; `time_ns` is exact."""
        return self.time_ns / S


class Source:
    """A file that is read from front to back, the place in it, and the number of the packet."""

    __slots__ = ("_file", "at", "name", "number")

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.at = 0
        self.number = 0

    def get(self, length: int) -> bytes:
        """Return the next bytes: fewer where the file ends."""
        data = b""
        while len(data) < length:
            try:
                more = self._file.read(length - len(data))
            except OSError as error:
                raise InputError(Path(self.name), error) from None
            if not more:
                break
            data += more
        self.at += len(data)
        return data

    def need(self, length: int, what: str, claimed: int | None = None) -> bytes:
        """Return the next bytes; raise CaptureError if the file ends before.

        ``what`` they are, and how many are ``claimed``, if that is more.
        """
        begin = self.at
        data = self.get(length)
        if len(data) < length:
            raise self.error(
                f"cut off in {what}, at byte {begin} of {self.at}:"
                f" it says {count(claimed or length)}, there are {len(data)}"
            )
        return data

    def skip(self, length: int, what: str) -> None:
        """Step over bytes, however many."""
        while length > 0:
            length -= len(self.need(min(length, MAX_PACKET), what, length))

    def error(self, problem: str) -> CaptureError:
        """Return the error that says what is wrong with the file."""
        return CaptureError(f"{self.name}: {problem}")

    def packet(self, time_ns: int, link_type: int, data: bytes, length: int) -> Captured:
        """Return a packet; raise CaptureError if its link has none."""
        self.know(link_type)
        frame = data if link_type == ETHERNET else None
        packet = ip_packet(link_type, data)
        return Captured(time_ns, packet, frame, link_type, length, len(data) < length)

    def know(self, link_type: int) -> None:
        """Raise CaptureError if a link type has no packets for us."""
        if link_type not in LINKS:
            name = f" ({NAMES[link_type]})" if link_type in NAMES else ""
            raise self.error(
                f"link type {link_type}{name} has no Ethernet or IP packets that lvsd can read"
            )

    def sane(self, length: int, at: int) -> None:
        """Raise CaptureError if the packet whose header is at a place has an absurd length."""
        if length > MAX_PACKET:
            raise self.error(
                f"packet {self.number}, at byte {at}, says that it has {count(length)};"
                f" none has more than {MAX_PACKET}"
            )
