"""Fragments: which bytes each piece has, and what cannot be cut."""

from __future__ import annotations

import pytest

from lvsd.packet.checksum import checksum
from lvsd.packet.fragment import fragments
from lvsd.packet.numbers import DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING, UDP
from lvsd.packet.view import Packet
from tests.unit.packet.samples import sample

NOP = b"\x01"
COPIED = b"\x94\x04\x00\x00"
"""Router alert (RFC 2113), whose copied flag is set."""
NOT_COPIED = b"\x07\x03\x04"
"""Record route (RFC 791), which only the first piece has."""

EXPERIMENTAL = 253  # RFC 3692


def v4(payload: int, *, options: bytes = b"", fragmentation: int = 0) -> bytes:
    """Return an IPv4 packet of an experimental protocol, its payload counting up."""
    length = 20 + len(options)
    header = bytearray((0x40 | length >> 2, 0, 0, 0, 0x12, 0x34, 0, 0, 64, EXPERIMENTAL, 0, 0))
    header[2:4] = (length + payload).to_bytes(2, "big")
    header[6:8] = fragmentation.to_bytes(2, "big")
    header += bytes((192, 0, 2, 1, 192, 0, 2, 2)) + options
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header) + counting(payload)


def v6(payload: int, *headers: int) -> bytes:
    """Return an IPv6 packet with empty extension headers of 8 bytes, its payload counting up."""
    following = (*headers, EXPERIMENTAL)
    start = b"\x60\x00\x00\x00" + (8 * len(headers) + payload).to_bytes(2, "big")
    packet = start + bytes((following[0], 64)) + bytes(32)
    for header in following[1:]:
        packet += bytes((header,)) + bytes(7)
    return packet + counting(payload)


def counting(size: int) -> bytes:
    return bytes(at % 251 for at in range(size))


def field(piece: bytes, at: int) -> int:
    return int.from_bytes(piece[at : at + 2], "big")


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_that_fits_is_its_only_piece_without_padding(version: int) -> None:
    data = sample(version, UDP, payload=100)
    assert fragments(data + b"\xa5\xa5", len(data)) == [data]


def test_pieces_of_ipv4_say_where_they_belong_and_whether_more_follow() -> None:
    pieces = fragments(v4(3000), 1500)
    assert [field(piece, 2) for piece in pieces] == [1500, 1500, 60]
    assert [field(piece, 6) for piece in pieces] == [0x2000, 0x2000 | 185, 370]
    assert b"".join(piece[20:] for piece in pieces) == counting(3000)
    assert [checksum(piece[:20]) for piece in pieces] == [0, 0, 0]


def test_an_odd_mtu_is_not_filled_but_by_the_last_piece() -> None:
    assert [len(piece) for piece in fragments(v4(200), 103)] == [100, 100, 60]
    assert [len(piece) for piece in fragments(v4(163), 103)] == [100, 103]


def test_pieces_keep_the_identification_of_ipv4_unless_another_is_given() -> None:
    assert {field(piece, 4) for piece in fragments(v4(3000), 1500)} == {0x1234}
    assert {field(piece, 4) for piece in fragments(v4(3000), 1500, 0xABCD_0007)} == {7}


def test_pieces_have_no_df() -> None:
    pieces = fragments(v4(100, fragmentation=0x4000), 68, 7)
    assert [field(piece, 6) >> 13 for piece in pieces] == [1, 1, 0]


def test_a_fragment_that_is_cut_keeps_its_place_and_its_number() -> None:
    middle = v4(96, fragmentation=0x2000 | 10)
    pieces = fragments(middle, 68, 7)
    assert [field(piece, 6) for piece in pieces] == [0x2000 | 10, 0x2000 | 16]
    last = v4(96, fragmentation=10)
    assert [field(piece, 6) for piece in fragments(last, 68, 7)] == [0x2000 | 10, 16]
    assert {field(piece, 4) for piece in pieces} == {0x1234}


def test_later_pieces_have_only_the_options_that_are_to_be_copied() -> None:
    options = NOP + NOT_COPIED + COPIED
    first, *later = fragments(v4(300, options=options), 128)
    assert first[20:28] == options
    assert [piece[0] for piece in later] == [0x46, 0x46]
    assert [piece[20:24] for piece in later] == [COPIED, COPIED]
    assert first[28:] + b"".join(piece[24:] for piece in later) == counting(300)


@pytest.mark.parametrize("garbage", [b"\x94\x09\x00\x00", b"\x94\x01\x00\x00", b"\x01\x01\x01\x94"])
def test_options_that_make_no_sense_are_not_copied(garbage: bytes) -> None:
    _, *later = fragments(v4(200, options=COPIED + garbage), 100)
    assert {piece[0] for piece in later} == {0x46}
    assert {piece[20:24] for piece in later} == {COPIED}


def test_pieces_of_ipv6_have_a_fragment_header_with_the_given_number() -> None:
    pieces = fragments(v6(3000), 1500, 0x0102_0304)
    assert [field(piece, 4) + 40 for piece in pieces] == [1496, 1496, 152]
    assert {piece[6] for piece in pieces} == {FRAGMENT}
    assert [piece[40:48].hex(" ", 2) for piece in pieces] == [
        "fd00 0001 0102 0304",
        "fd00 05a9 0102 0304",
        "fd00 0b50 0102 0304",
    ]
    assert b"".join(piece[48:] for piece in pieces) == counting(3000)


@pytest.mark.parametrize(
    ("headers", "split"),
    [
        ((HOP_BY_HOP,), 48),
        ((DESTINATION_OPTIONS,), 40),
        ((HOP_BY_HOP, DESTINATION_OPTIONS), 48),
        ((HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, DESTINATION_OPTIONS), 64),
    ],
)
def test_every_piece_has_the_headers_that_routers_look_at(
    headers: tuple[int, ...], split: int
) -> None:
    whole = v6(400, *headers)
    pieces = fragments(whole, 256, 1)
    assert b"".join(piece[split + 8 :] for piece in pieces) == whole[split:]
    for piece in pieces:
        assert field(piece, 4) + 40 == len(piece)
        pointer = 6 if split == 40 else split - 8
        assert piece[pointer] == FRAGMENT
        assert piece[6:pointer] == whole[6:pointer]


def test_an_ipv6_fragment_is_cut_without_a_second_fragment_header() -> None:
    first, last = fragments(v6(1000), 600, 77)
    pieces = fragments(first, 300) + fragments(last, 300)
    assert fragments(v6(1000), 300, 77)[0] == pieces[0]
    assert {piece[40] for piece in pieces} == {EXPERIMENTAL}
    assert b"".join(piece[48:] for piece in pieces) == counting(1000)


def test_ipv6_is_not_cut_without_an_identification() -> None:
    with pytest.raises(ValueError, match="identification"):
        fragments(v6(100), 80)


@pytest.mark.parametrize(("data", "mtu"), [(v4(100), 67), (v6(100), 55)], ids=["IPv4", "IPv6"])
def test_an_mtu_that_leaves_no_room_is_refused(data: bytes, mtu: int) -> None:
    with pytest.raises(ValueError, match=f"an MTU of {mtu} "):
        fragments(data, mtu, 1)
    assert fragments(data, mtu + 1, 1)


def test_headers_that_fill_the_mtu_leave_no_pieces() -> None:
    routed = bytearray(v6(2100))
    routed[6] = HOP_BY_HOP
    routed[40:42] = bytes((EXPERIMENTAL, 255))
    assert Packet().load(bytes(routed)) is None
    assert fragments(bytes(routed), 1280, 1) == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_fragment_beyond_the_longest_packet_leaves_no_pieces(version: int) -> None:
    if version == 4:
        data = v4(100, fragmentation=0x1FFF)
    else:
        whole = bytearray(v6(100, FRAGMENT))
        whole[42:44] = b"\xff\xf8"
        data = bytes(whole)
    assert fragments(data, 68) == []
