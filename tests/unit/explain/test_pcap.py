"""Capture files as they are written by us, by hand, and by Wireshark's tools."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from lvsd.errors import InputError
from lvsd.explain.captures.pcap import Captured, CaptureError, read, read_path, write
from tests.unit.packet.samples import sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKET: Final = sample(4, 6)
PACKET_6: Final = sample(6, 17)
MACS: Final = bytes.fromhex("020000000002020000000001")
FRAME: Final = MACS + b"\x08\x00" + PACKET
FRAME_6: Final = MACS + b"\x86\xdd" + PACKET_6
ARP: Final = MACS + b"\x08\x06" + bytes(28)
TIME_S: Final = 1_700_000_000.25
TIME_NS: Final = 1_700_000_000_250_000_000

SECTION, INTERFACE, OLD, SIMPLE, NAMES, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 4, 6


def pcap(*records: bytes, order: str = "<", magic: int = 0xA1B2C3D4, link_type: int = 1) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    return head + b"".join(records)


def record(data: bytes, order: str = "<", parts: int = 250_000, length: int | None = None) -> bytes:
    whole = len(data) if length is None else length
    return struct.pack(order + "IIII", 1_700_000_000, parts, len(data), whole) + data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body = body.ljust(len(body) + 3 & ~3, b"\0")
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(SECTION, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int = 1, options: bytes = b"", order: str = "<", kept: int = 0) -> bytes:
    return block(INTERFACE, struct.pack(order + "HHI", link_type, 0, kept) + options, order)


def enhanced(data: bytes, ticks: int, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(
        order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)
    )
    return block(ENHANCED, head + data.ljust(len(data) + 3 & ~3, b"\0") + bytes(4), order)


def packets(data: bytes) -> list[Captured]:
    return list(read(io.BytesIO(data), "in.pcap"))


def problem(data: bytes, before: int = 0) -> str:
    """Return what is wrong with a file, after so many good packets."""
    seen = 0
    with pytest.raises(CaptureError) as raised:  # noqa: PT012 - the packets before are counted
        for _ in read(io.BytesIO(data), "in.pcap"):
            seen += 1
    assert seen == before
    return str(raised.value)


def test_what_was_written_is_read() -> None:
    file = io.BytesIO()
    write(file, [(TIME_S, FRAME), (0.0000014, FRAME_6), (2.9999999, ARP)])
    assert packets(file.getvalue()) == [
        Captured(TIME_NS, PACKET, FRAME, 1, len(FRAME), cut=False),
        Captured(1000, PACKET_6, FRAME_6, 1, len(FRAME_6), cut=False),
        Captured(3_000_000_000, b"", ARP, 1, len(ARP), cut=False),
    ]


def test_packets_without_ethernet_are_read() -> None:
    file = pcap(record(PACKET), link_type=101)
    assert packets(file) == [Captured(TIME_NS, PACKET, None, 101, len(PACKET), cut=False)]


def test_seconds_are_told_as_a_number_with_a_fraction() -> None:
    (one,) = packets(pcap(record(FRAME)))
    assert one.time_s == TIME_S


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "parts"), [(0xA1B2C3D4, 250_000), (0xA1B23C4D, 250_000_000)])
def test_pcap_is_read_in_any_byte_order_and_unit(order: str, magic: int, parts: int) -> None:
    (one,) = packets(pcap(record(FRAME, order, parts), order=order, magic=magic))
    assert (one.time_ns, one.frame) == (TIME_NS, FRAME)


def test_a_packet_that_the_capture_cut_says_so() -> None:
    (one,) = packets(pcap(record(FRAME[:40], length=74)))
    assert (one.packet, one.length, one.cut) == (PACKET[:26], 74, True)


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (0, b"\x02\0\0\0"),
        (0, b"\0\0\0\x02"),
        (12, b""),
        (14, b""),
        (101, b""),
        (108, b"\0\0\0\x02"),
        (113, bytes(14) + b"\x08\x00"),
        (113, bytes(14) + b"\x81\x00\x00\x05\x08\x00"),
        (228, b""),
        (276, b"\x08\x00" + bytes(18)),
        (1, MACS + b"\x81\x00\x00\x05\x08\x00"),
    ],
)
def test_the_packet_is_found_behind_any_link_layer(link_type: int, header: bytes) -> None:
    (one,) = packets(pcap(record(header + PACKET), link_type=link_type))
    assert one.packet == PACKET
    assert one.frame == (header + PACKET if link_type == 1 else None)


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (0, b"\x1e\0\0\0"),
        (108, b"\0\0\0\x18"),
        (113, bytes(14) + b"\x86\xdd"),
        (229, b""),
        (276, b"\x86\xdd" + bytes(18)),
    ],
)
def test_ipv6_is_found_too(link_type: int, header: bytes) -> None:
    (one,) = packets(pcap(record(header + PACKET_6), link_type=link_type))
    assert one.packet == PACKET_6


@pytest.mark.parametrize("link_type", [0, 1, 12, 101, 108, 113, 228, 229, 276])
@pytest.mark.parametrize("data", [b"", b"\x08", bytes(3), bytes(30)])
def test_what_has_no_ip_packet_has_none(link_type: int, data: bytes) -> None:
    (one,) = packets(pcap(record(data), link_type=link_type))
    assert one.packet == b""


@pytest.mark.parametrize("order", "<>")
def test_pcapng_is_read_in_any_byte_order(order: str) -> None:
    ticks = TIME_NS // 1000
    file = section(order) + interface(order=order) + enhanced(FRAME, ticks, order)
    assert packets(file) == [Captured(TIME_NS, PACKET, FRAME, 1, len(FRAME), cut=False)]


def test_a_section_may_be_of_another_byte_order_than_the_one_before() -> None:
    file = b"".join(
        section(order) + interface(101, order=order) + enhanced(PACKET, 1, order) for order in "<>"
    )
    assert [one.packet for one in packets(file)] == [PACKET, PACKET]


def test_each_interface_has_a_link_type_and_a_clock_of_its_own() -> None:
    nanoseconds = struct.pack("<HHBxxx", 9, 1, 9)
    halves = struct.pack("<HHBxxx", 9, 1, 0x81)
    offset = struct.pack("<HHq", 14, 8, 100) + bytes(4)
    interfaces = interface(1, nanoseconds) + interface(101, halves) + interface(101, offset)
    interfaces += interface(101, nanoseconds + offset)
    file = section() + interfaces
    for number, data in enumerate((FRAME, PACKET, PACKET, PACKET)):
        file += enhanced(data, 3, number=number)
    assert [(one.time_ns, one.packet) for one in packets(file)] == [
        (3, PACKET),
        (1_500_000_000, PACKET),
        (100_000_003_000, PACKET),
        (100_000_000_003, PACKET),
    ]


def test_simple_and_old_blocks_have_packets_too() -> None:
    old = struct.pack("<HHIIII", 0, 0, 0, 7, len(FRAME), len(FRAME)) + FRAME
    file = section() + interface(kept=40)
    file += block(SIMPLE, struct.pack("<I", len(FRAME)) + FRAME[:40]) + block(OLD, old)
    assert packets(file) == [
        Captured(0, PACKET[:26], FRAME[:40], 1, len(FRAME), cut=True),
        Captured(7000, PACKET, FRAME, 1, len(FRAME), cut=False),
    ]


def test_blocks_that_nobody_knows_are_skipped() -> None:
    file = section() + block(NAMES, bytes(300_000)) + interface() + block(0x80000001, b"abc")
    assert len(packets(file + enhanced(FRAME, 1) + block(5, bytes(12)))) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty, not a capture file"),
        (b"PK\x03\x04abc", "not a capture file (begins with 50 4b 03 04: a zip archive?)"),
        (b"hello", "not a capture file (begins with 68 65 6c 6c: a text?)"),
        (b"\0\1", "not a capture file (begins with 00 01)"),
        (gzip.compress(pcap()), "compressed with gzip; gunzip it first"),
        (b"\xfd7zXZ\0", "compressed with xz; unxz it first"),
        (pcap()[:20], "cut off in its header, at byte 4 of 20: it says 20 bytes, there are 16"),
        (
            pcap(link_type=127),
            "link type 127 (802.11 radiotap) has no Ethernet or IP packets that lvsd can read",
        ),
        (pcap(link_type=147), "link type 147 has no Ethernet or IP packets that lvsd can read"),
        (
            struct.pack("<IHHiIII", 0xA1B2C3D4, 3, 1, 0, 0, 0, 1),
            "a pcap of version 3.1; lvsd reads those of version 2",
        ),
    ],
)
def test_what_is_no_capture_is_refused_at_once(data: bytes, message: str) -> None:
    with pytest.raises(CaptureError) as raised:
        read(io.BytesIO(data), "in.pcap")
    assert str(raised.value) == f"in.pcap: {message}"


def test_the_packets_before_the_cut_are_given() -> None:
    file = pcap(record(FRAME), record(FRAME))
    begin = len(file) - len(FRAME)
    assert problem(file[:-5], before=1) == (
        f"in.pcap: cut off in packet 2, at byte {begin} of {len(file) - 5}:"
        f" it says {len(FRAME)} bytes, there are {len(FRAME) - 5}"
    )


def test_a_packets_header_may_be_cut_off_too() -> None:
    file = pcap(record(FRAME)) + bytes(7)
    assert problem(file, before=1) == (
        f"in.pcap: cut off in the header of packet 2, at byte {len(file) - 7} of {len(file)}:"
        " it has 16 bytes, there are 7"
    )


def test_an_absurd_length_is_refused() -> None:
    absurd = struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 74)
    assert problem(pcap(record(FRAME), absurd), before=1) == (
        f"in.pcap: packet 2, at byte {24 + 16 + len(FRAME)}, says that it has 4294967295 bytes;"
        " none has more than 262144"
    )


START: Final = section() + interface()


@pytest.mark.parametrize(
    ("data", "before", "message"),
    [
        (section()[:10], 0, "cut off in the header of a section, at byte 4 of 10: it says 8 bytes"),
        (
            section()[:8] + bytes(20),
            0,
            "the block at byte 0 begins a section of no known byte order",
        ),
        (START + enhanced(FRAME, 1)[:-8], 0, "cut off in packet 1, at byte 56 of "),
        (START + enhanced(FRAME, 1) + b"\x06\0", 1, "a block begins, and does not go on"),
        (START + block(5, bytes(8))[:-6], 0, "cut off in the block at byte 48, at byte 56 of 62"),
        (
            START + enhanced(FRAME, 1)[:-4] + bytes(4),
            0,
            "packet 1 says another length at its end than at its beginning",
        ),
        (
            START + struct.pack("<II", ENHANCED, 0xFFFFFFF0),
            0,
            "packet 1 says that it has 4294967280 bytes, which cannot be",
        ),
        (START + struct.pack("<II", 5, 13), 0, "the block at byte 48 says that it has 13 bytes"),
        (START + struct.pack("<II", 5, 4), 0, "the block at byte 48 says that it has 4 bytes"),
        (START + block(ENHANCED, bytes(8)), 0, "packet 1, at byte 48, is too short for its header"),
        (section() + block(INTERFACE, bytes(4)), 0, "too short for an interface"),
        (
            START + enhanced(FRAME, 1, number=1),
            0,
            "packet 1, at byte 48, is of interface 1, which the file does not describe",
        ),
        (
            START + block(ENHANCED, struct.pack("<IIIII", 0, 0, 0, 74, 74) + bytes(8)),
            0,
            "packet 1, at byte 48, says that it has 74 bytes, its block has 8",
        ),
        (
            START + block(ENHANCED, struct.pack("<IIIII", 0, 0, 0, 262145, 262145) + bytes(8)),
            0,
            "says that it has 262145 bytes; none has more than 262144",
        ),
        (
            section() + interface(127) + enhanced(FRAME, 1),
            0,
            "link type 127 (802.11 radiotap) has no Ethernet or IP packets that lvsd can read",
        ),
    ],
)
def test_a_wrong_pcapng_says_what_and_where(data: bytes, before: int, message: str) -> None:
    said = problem(data, before)
    assert said.startswith("in.pcap: ")
    assert message in said


def test_no_bytes_of_a_file_raise_anything_else() -> None:
    said = set()
    for file in (
        pcap(record(FRAME), record(ARP)),
        START + enhanced(FRAME, 1) + block(SIMPLE, struct.pack("<I", 4) + bytes(4)),
    ):
        for at in range(len(file)):
            for number in (0x00, 0x7F, 0xFF, file[at] ^ 1):
                data = file[:at] + bytes((number,)) + file[at + 1 :]
                try:
                    list(read(io.BytesIO(data)))
                except CaptureError as error:
                    said.add(str(error).partition(": ")[0])
    assert said == {"the capture"}


def test_an_error_has_a_status_of_its_own() -> None:
    assert CaptureError.exit_status == os.EX_DATAERR


class Dribble(io.BytesIO):
    """A pipe that gives a byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next byte, if any is asked for."""
        return super().read(min(size or 0, 1))


def test_a_pipe_is_read_that_gives_a_little_at_a_time() -> None:
    (one,) = read(Dribble(pcap(record(FRAME))))
    assert one.frame == FRAME


def test_a_path_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(record(FRAME)))
    assert [one.frame for one in read_path(path)] == [FRAME]
    path.write_bytes(b"hello")
    with pytest.raises(CaptureError, match=r"in\.pcap: not a capture file"):
        read_path(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_path(tmp_path)
    assert str(raised.value) == f"{tmp_path}: cannot be read: Is a directory"
    with pytest.raises(InputError, match="missing: cannot be read: No such file or directory"):
        read_path(tmp_path / "missing")


def test_a_file_that_is_read_no_further_is_named() -> None:
    class Broken(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(InputError) as raised:
        read(Broken(), "in.pcap")
    assert str(raised.value) == "in.pcap: cannot be read: Input/output error"


needs_editcap = pytest.mark.skipif(
    shutil.which("editcap") is None,
    reason="editcap is not installed (apt install wireshark-common)",
)


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., bytes]:
    """Return what editcap makes of a file of ours."""

    def convert(*options: str) -> bytes:
        ours, theirs = tmp_path / "ours.pcap", tmp_path / "theirs"
        with ours.open("wb") as file:
            write(file, [(TIME_S, FRAME), (TIME_S, FRAME_6), (TIME_S, ARP)])
        subprocess.run(["editcap", *options, ours, theirs], check=True, capture_output=True)
        return theirs.read_bytes()

    return convert


@needs_editcap
@pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "pcapng"])
def test_what_editcap_converts_is_the_same(converted: Callable[..., bytes], kind: str) -> None:
    theirs = packets(converted("-F", kind))
    assert theirs == packets(converted())
    assert [(one.time_ns, one.frame) for one in theirs] == [
        (TIME_NS, FRAME),
        (TIME_NS, FRAME_6),
        (TIME_NS, ARP),
    ]


@needs_editcap
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_what_editcap_cuts_off_is_cut(converted: Callable[..., bytes], kind: str) -> None:
    first, *_ = packets(converted("-F", kind, "-s", "40"))
    assert (first.frame, first.length, first.cut) == (FRAME[:40], len(FRAME), True)


@needs_editcap
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
@pytest.mark.parametrize(
    ("encapsulation", "link_type"), [("rawip", 101), ("linux-sll", 113), ("null", 0)]
)
def test_what_editcap_says_of_the_link_is_believed(
    converted: Callable[..., bytes], kind: str, encapsulation: str, link_type: int
) -> None:
    theirs = packets(converted("-F", kind, "-T", encapsulation))
    assert {one.link_type for one in theirs} == {link_type}


@needs_editcap
def test_raw_packets_of_editcap_are_found(converted: Callable[..., bytes]) -> None:
    theirs = packets(converted("-F", "pcapng", "-T", "rawip", "-C", "14"))
    assert [one.packet for one in theirs] == [PACKET, PACKET_6, b""]
