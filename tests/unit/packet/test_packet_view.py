"""The view: what it reads, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import pytest

from lvsd.packet.address import pack
from lvsd.packet.numbers import Chunk, TcpFlag
from lvsd.packet.view import ICMP, SCTP, TCP, UDP, Fault, Packet, key, split_key

CIP, VIP = pack("198.51.100.7"), pack("192.0.2.10")
CIP6, VIP6 = pack("2001:db8::7"), pack("2001:db8::10")
PORTS = bytes.fromhex("9c40 0050")
TCP_HEADER = PORTS + bytes(8) + b"\x50\x12" + bytes(6)
FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 44, 51, 60


def ipv4(
    protocol: int, body: bytes, *, length: int | None = None, words: int = 5, fragment: int = 0
) -> bytes:
    """Write an IPv4 packet; the lengths may lie, ``fragment`` is the field as it stands."""
    total = words * 4 + len(body) if length is None else length
    start = bytes((0x40 | words, 0)) + total.to_bytes(2, "big") + bytes(2)
    start += fragment.to_bytes(2, "big") + bytes((64, protocol, 0, 0)) + CIP + VIP
    return start.ljust(words * 4, b"\x01") + body


def ipv6(protocol: int, body: bytes, *, length: int | None = None) -> bytes:
    """Write an IPv6 packet; the length may lie."""
    size = len(body) if length is None else length
    return (
        b"\x60\x00\x00\x00" + size.to_bytes(2, "big") + bytes((protocol, 64)) + CIP6 + VIP6 + body
    )


def udp(size: int, length: int | None = None) -> bytes:
    """Write UDP with ``size`` bytes of payload; the length may lie."""
    return PORTS + (8 + size if length is None else length).to_bytes(2, "big") + bytes(2 + size)


def loaded(data: bytes, *, quoted: bool = False) -> Packet:
    packet = Packet()
    assert packet.load(data, quoted=quoted) is None
    return packet


def test_the_key_is_protocol_addresses_and_ports_as_they_lie_in_the_packet() -> None:
    data = ipv4(TCP, TCP_HEADER)
    assert loaded(data).key == data[9:10] + data[12:20] + data[20:24]
    assert loaded(data).key == key(TCP, CIP, 40000, VIP, 80)


def test_a_key_splits_into_the_ends_it_was_made_of() -> None:
    assert split_key(key(UDP, CIP6, 53, VIP6, 65535)) == ((CIP6, 53), (VIP6, 65535))
    assert split_key(key(UDP, CIP, 53, VIP, 65535)) == ((CIP, 53), (VIP, 65535))


def test_a_tcp_packet_shows_its_flags_and_ends() -> None:
    packet = loaded(ipv4(TCP, TCP_HEADER))
    assert packet.flags == TcpFlag.SYN | TcpFlag.ACK
    assert (packet.source, packet.source_port) == (CIP, 40000)
    assert (packet.destination, packet.destination_port) == (VIP, 80)
    assert (packet.version, packet.protocol, packet.l4, packet.end) == (4, TCP, 20, 40)


def test_a_protocol_without_ports_has_a_key_with_ports_of_zero() -> None:
    assert loaded(ipv4(47, b"\xff" * 8)).key == key(47, CIP, 0, VIP, 0)
    assert loaded(ipv4(47, b"")).key == key(47, CIP, 0, VIP, 0)


def test_an_icmp_message_shows_its_type_and_code() -> None:
    packet = loaded(ipv4(ICMP, b"\x03\x04" + bytes(6)))
    assert (packet.icmp_type, packet.icmp_code) == (3, 4)
    packet = loaded(ipv4(TCP, TCP_HEADER))
    assert (packet.icmp_type, packet.icmp_code) == (-1, -1)


def test_padding_beyond_the_ip_length_is_not_part_of_the_packet() -> None:
    assert loaded(ipv4(UDP, udp(4)) + bytes(14)).end == 32
    assert loaded(ipv6(UDP, udp(4)) + bytes(14)).end == 52


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", Fault.TRUNCATED),
        (ipv4(TCP, TCP_HEADER)[:19], Fault.TRUNCATED),
        (ipv6(TCP, TCP_HEADER)[:39], Fault.TRUNCATED),
        (b"\x55" + bytes(40), Fault.BAD_VERSION),
        (b"\x44" + ipv4(TCP, TCP_HEADER)[1:], Fault.BAD_HEADER_LENGTH),
        (ipv4(TCP, TCP_HEADER, length=19), Fault.BAD_LENGTH),
        (ipv4(TCP, TCP_HEADER, length=0), Fault.BAD_LENGTH),
        (ipv4(TCP, TCP_HEADER, length=41), Fault.TRUNCATED),
        (ipv6(TCP, TCP_HEADER, length=21), Fault.TRUNCATED),
        (ipv6(TCP, TCP_HEADER, length=19), Fault.TRUNCATED),
        (ipv4(TCP, TCP_HEADER[:19]), Fault.TRUNCATED),
        (ipv4(TCP, PORTS + bytes(8) + b"\x40" + bytes(7)), Fault.BAD_HEADER_LENGTH),
        (ipv4(TCP, PORTS + bytes(8) + b"\x60" + bytes(7)), Fault.BAD_HEADER_LENGTH),
        (ipv4(UDP, udp(0)[:7]), Fault.TRUNCATED),
        (ipv4(UDP, udp(4, length=7)), Fault.BAD_LENGTH),
        (ipv4(UDP, udp(4, length=13)), Fault.BAD_LENGTH),
        (ipv6(UDP, udp(4, length=0)), Fault.BAD_LENGTH),
        (ipv4(SCTP, PORTS + bytes(7)), Fault.TRUNCATED),
        (ipv4(ICMP, bytes(7)), Fault.TRUNCATED),
    ],
)
def test_a_packet_that_lies_about_its_lengths_is_refused(data: bytes, fault: Fault) -> None:
    assert Packet().load(data) is fault


def test_a_refusal_leaves_the_view_on_the_packet_before() -> None:
    packet = loaded(ipv4(UDP, udp(4)))
    assert packet.load(ipv6(TCP, TCP_HEADER[:5])) is Fault.TRUNCATED
    assert (packet.version, packet.key) == (4, key(UDP, CIP, 40000, VIP, 80))


def test_udp_may_end_before_the_datagram_does() -> None:
    assert loaded(ipv4(UDP, udp(4, length=10))).end == 32


def test_a_first_fragment_has_ports_and_may_be_shorter_than_its_udp_says() -> None:
    packet = loaded(ipv4(UDP, udp(8, length=3008), fragment=0x2000))
    assert (packet.fragment, packet.fragment_offset, packet.source_port) == (True, 0, 40000)


def test_a_later_fragment_has_no_ports_no_flags_and_no_chunk() -> None:
    for protocol in (TCP, SCTP, ICMP):
        packet = loaded(ipv4(protocol, b"\xff" * 40, fragment=0x2001))
        assert (packet.fragment, packet.fragment_offset) == (True, 8)
        assert packet.key == key(protocol, CIP, 0, VIP, 0)
        assert (packet.flags, packet.chunk, packet.icmp_type, packet.icmp_code) == (0, -1, -1, -1)


def test_dont_fragment_is_read_in_ipv4_and_always_so_in_ipv6() -> None:
    assert not loaded(ipv4(UDP, udp(0))).dont_fragment
    assert loaded(ipv4(UDP, udp(0), fragment=0x4000)).dont_fragment
    assert loaded(ipv6(UDP, udp(0))).dont_fragment
    assert not loaded(ipv4(UDP, udp(0), fragment=0x4000)).fragment


def test_an_atomic_ipv6_fragment_is_a_whole_packet() -> None:
    reserved_bits_set = bytes((UDP, 0xFF, 0x00, 0x06)) + bytes(4)
    packet = loaded(ipv6(FRAGMENT, reserved_bits_set + udp(4)))
    assert (packet.fragment, packet.l4, packet.source_port) == (False, 48, 40000)


def test_behind_a_later_ipv6_fragment_no_header_is_looked_for() -> None:
    header = bytes((DESTINATION_OPTIONS, 0, 0x00, 0x11)) + bytes(4)
    packet = loaded(ipv6(FRAGMENT, header + b"\xff" * 8))
    assert (packet.fragment, packet.fragment_offset) == (True, 16)
    assert (packet.protocol, packet.l4) == (DESTINATION_OPTIONS, 48)


def test_an_ipv6_authentication_header_is_stepped_over_in_units_of_four_bytes() -> None:
    header = bytes((TCP, 4)) + bytes(22)
    packet = loaded(ipv6(AUTHENTICATION, header + TCP_HEADER))
    assert (packet.protocol, packet.l4, packet.destination_port) == (TCP, 64, 80)


def test_eight_extension_headers_are_stepped_over_and_nine_are_a_fault() -> None:
    option = bytes((DESTINATION_OPTIONS, 0)) + bytes(6)
    last = bytes((UDP, 0)) + bytes(6)
    assert loaded(ipv6(DESTINATION_OPTIONS, option * 7 + last + udp(0))).l4 == 40 + 64
    nine = ipv6(DESTINATION_OPTIONS, option * 8 + last + udp(0))
    assert Packet().load(nine) is Fault.TOO_MANY_HEADERS


def test_an_extension_header_beyond_the_end_is_a_fault() -> None:
    too_long = bytes((UDP, 9)) + bytes(6)
    assert Packet().load(ipv6(DESTINATION_OPTIONS, too_long)) is Fault.TRUNCATED
    assert Packet().load(ipv6(DESTINATION_OPTIONS, bytes(7))) is Fault.TRUNCATED


@pytest.mark.parametrize(
    ("chunks", "seen"),
    [
        ("", -1),
        ("000000", -1),
        ("0100 0014", Chunk.INIT),
        ("0a00 0008 aaaaaaaa 0600 0004", Chunk.ABORT),
        ("0b00 0004 0600 0004", Chunk.ABORT),
        ("0a00 0005 aa000000 0600 0004", Chunk.ABORT),
        ("0a00 0008 aaaaaaaa 0003 0010", Chunk.COOKIE_ECHO),
        ("0a00 0000 0600 0004", Chunk.COOKIE_ECHO),
        ("0a00 0008 aaaaaaaa 060000", Chunk.COOKIE_ECHO),
        ("0000 0004 0600 0004", Chunk.DATA),
        ("ff00 0004", 255),
    ],
)
def test_sctp_goes_by_the_first_chunk_or_an_abort_behind_a_cookie(chunks: str, seen: int) -> None:
    packet = loaded(ipv4(SCTP, PORTS + bytes(8) + bytes.fromhex(chunks)))
    assert packet.chunk == seen


def test_a_quoted_packet_needs_only_eight_bytes_of_its_transport() -> None:
    for protocol in (TCP, UDP, SCTP):
        data = ipv4(protocol, PORTS + b"\xff" * 4, length=1500)
        packet = loaded(data, quoted=True)
        assert packet.key == key(protocol, CIP, 40000, VIP, 80)
        assert (packet.end, packet.flags) == (28, 0)
        assert Packet().load(data[:27], quoted=True) is Fault.TRUNCATED
        assert Packet().load(data) is Fault.TRUNCATED


def test_a_quoted_packet_shows_its_flags_if_they_are_there() -> None:
    data = ipv4(TCP, TCP_HEADER, length=1500)
    assert loaded(data[:34], quoted=True).flags == TcpFlag.SYN | TcpFlag.ACK
    assert loaded(data[:33], quoted=True).flags == 0


def test_a_quoted_fragment_must_have_its_whole_ip_header() -> None:
    data = ipv4(TCP, bytes(20), words=15, fragment=0x0001)
    assert Packet().load(data[:59], quoted=True) is Fault.TRUNCATED
    assert loaded(data[:60], quoted=True).end == 60
    later = bytes((FRAGMENT, 3)) + bytes(30) + bytes((TCP, 0, 0, 8)) + bytes(4)
    data = ipv6(DESTINATION_OPTIONS, later)
    assert loaded(data, quoted=True).fragment_offset == 8
    assert Packet().load(data[:79], quoted=True) is Fault.TRUNCATED
