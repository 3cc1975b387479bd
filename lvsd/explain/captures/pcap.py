"""Capture files: the packets out of pcap and pcapng, one at a time, and into pcap.

pcap (draft-ietf-opsawg-pcap) is read in either byte order, with micro- or nanoseconds; pcapng in
`lvsd.explain.captures.pcapng`; link types are those of `lvsd.explain.captures.links`. A file is
read from front to back, so that it may be a pipe, and no more of it than a packet is in memory.
What came before an error is given.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, BinaryIO, Final

from lvsd.errors import InputError
from lvsd.explain.captures.links import ETHERNET
from lvsd.explain.captures.pcapng import SECTION, sections
from lvsd.explain.captures.source import MAX_PACKET, Captured, CaptureError, S, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["CaptureError", "Captured", "read", "read_path", "write"]

_ORDERS: Final = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""A pcap's first bytes: its byte order, and how many nanoseconds its clock counts in."""

_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
}
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive",
    b"\x7fELF": "a program",
    b"snoop\0": "a capture of snoop, which editcap converts",
    b"\xa1\xb2\xcd\x34": "a capture of a kind that editcap converts",
    b"\x34\xcd\xb2\xa1": "a capture of a kind that editcap converts",
}
_SHOWN: Final = 4

_HEADER: Final = Struct("<IHHiIII")
_RECORD: Final = Struct("<IIII")


def read(file: BinaryIO, name: str | None = None) -> Iterator[Captured]:
    """Return the packets of a capture file that is at its beginning.

    ``name`` is what errors call the file. Raise CaptureError at once if it is no capture, or of a
    link type without packets, and from the iterator where it breaks off or makes no sense.
    """
    source = Source(file, name or str(getattr(file, "name", "the capture")))
    magic = source.get(4)
    if magic == SECTION:
        return sections(source)
    if magic in _ORDERS:
        return _records(source, *_ORDERS[magic])
    raise source.error(_no_capture(magic))


def read_path(path: Path) -> Iterator[Captured]:
    """Return the packets of a file, as `read` does; it is closed after the last one.

    Raise InputError if the file cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(path, error) from None
    try:
        packets = read(file, str(path))
    except BaseException:
        file.close()
        raise
    return _closing(file, packets)


def write(file: BinaryIO, frames: Iterable[tuple[float, bytes]]) -> None:
    """Write Ethernet frames, each with its time in seconds since 1970, as pcap with microseconds.

    Of all formats it is the one that every tool reads.
    """
    file.write(_HEADER.pack(0xA1B2C3D4, 2, 4, 0, 0, MAX_PACKET, ETHERNET))
    for time_s, data in frames:
        seconds, microseconds = divmod(round(time_s * 1_000_000), 1_000_000)
        file.write(_RECORD.pack(seconds, microseconds, len(data), len(data)) + data)


def _records(source: Source, order: str, unit_ns: int) -> Iterator[Captured]:
    """Return the packets of a pcap, from behind its first 4 bytes."""
    head = source.need(20, "its header")
    major, minor, *_, network = Struct(order + "HHiIII").unpack(head)
    if major != 2:
        raise source.error(f"a pcap of version {major}.{minor}; lvsd reads those of version 2")
    # The upper half may tell how long the frame check sequence is.
    link_type = network & 0xFFFF
    source.know(link_type)
    return _each_record(source, Struct(order + "IIII"), unit_ns, link_type)


def _each_record(
    source: Source, record: Struct, unit_ns: int, link_type: int
) -> Iterator[Captured]:
    while head := source.get(record.size):
        source.number += 1
        begin, what = source.at - len(head), f"packet {source.number}"
        if len(head) < record.size:
            raise source.error(
                f"cut off in the header of {what}, at byte {begin} of {source.at}:"
                f" it has {record.size} bytes, there are {len(head)}"
            )
        seconds, parts, kept, length = record.unpack(head)
        source.sane(kept, begin)
        data = source.need(kept, what)
        yield source.packet(seconds * S + parts * unit_ns, link_type, data, length)


def _closing(file: BinaryIO, packets: Iterator[Captured]) -> Iterator[Captured]:
    with file:
        yield from packets


def _no_capture(begin: bytes) -> str:
    """Return what is wrong with a file by its first bytes."""
    if not begin:
        return "empty, not a capture file"
    for magic, (name, program) in _COMPRESSED.items():
        if begin.startswith(magic[:_SHOWN]):
            return f"compressed with {name}; {program} it first"
    guess = next((name for magic, name in _OTHERS.items() if begin == magic[:_SHOWN]), "")
    if not guess and begin.isascii() and begin.decode().strip().isprintable():
        guess = "a text"
    hint = f": {guess}?" if guess else ""
    return f"not a capture file (begins with {begin.hex(' ')}{hint})"
