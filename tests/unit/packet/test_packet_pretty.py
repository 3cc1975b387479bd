"""What the printer says, of whole packets and of bad ones."""

from __future__ import annotations

import pytest

from lvsd.packet.address import pack
from lvsd.packet.icmp import seal, time_exceeded, too_big
from lvsd.packet.pretty import pretty, pretty_lines
from lvsd.packet.view import ICMPV6, SCTP, TCP, UDP, Packet
from tests.unit.packet.samples import sample


def test_a_packet_stands_on_one_line() -> None:
    assert pretty(sample(4, TCP)) == (
        "IP 198.51.100.7:40000 > 192.0.2.10:80: TCP [ACK] seq 0 ack 0 win 8192 length 24, ttl 64"
    )
    assert pretty(sample(6, UDP)) == (
        "IP6 [2001:db8::7]:40000 > [2001:db8::10]:80: UDP length 24, ttl 64"
    )
    assert pretty(sample(4, SCTP)) == (
        "IP 198.51.100.7:40000 > 192.0.2.10:80: SCTP [DATA] length 40, ttl 64"
    )


def test_each_layer_stands_on_a_line_with_its_checksum() -> None:
    assert pretty_lines(sample(4, UDP)).splitlines() == [
        "IPv4 198.51.100.7 > 192.0.2.10, ttl 64, length 52, checksum 0x8e73 (right)",
        "  UDP 40000 > 80 length 24, checksum 0xf247 (right)",
    ]


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_a_flipped_bit_shows_as_a_wrong_checksum(protocol: int) -> None:
    data = bytearray(sample(4, protocol))
    data[-1] ^= 1
    assert pretty(bytes(data)).endswith(", wrong transport checksum")
    assert pretty_lines(bytes(data)).endswith("(wrong)")
    data[1] ^= 4
    assert pretty(bytes(data)).endswith(", wrong header checksum, wrong transport checksum")


def test_udp_without_a_checksum_is_not_wrong() -> None:
    data = bytearray(sample(4, UDP))
    data[26:28] = bytes(2)
    assert pretty(bytes(data)) == pretty(sample(4, UDP))
    assert pretty_lines(bytes(data)).endswith("checksum 0x0000 (unused)")


def test_an_error_shows_what_it_is_about() -> None:
    packet = Packet()
    packet.load(sample(6, TCP))
    message = seal(too_big(packet, 1280), pack("2001:db8::10"), packet.source)
    header = b"\x60\x00\x00\x00" + len(message).to_bytes(2, "big") + bytes((ICMPV6, 60))
    data = header + pack("2001:db8::10") + packet.source + message
    assert pretty(data) == (
        "IP6 2001:db8::10 > 2001:db8::7: ICMPv6 too big mtu 1280 about "
        "(IP6 [2001:db8::7]:40000 > [2001:db8::10]:80: TCP [ACK] seq 0 ack 0 win 8192 length 24, "
        "ttl 64), ttl 60"
    )
    assert [line.split(" ")[:5] for line in pretty_lines(data).splitlines()] == [
        ["IPv6", "2001:db8::10", ">", "2001:db8::7,", "ttl"],
        ["", "", "ICMPv6", "too", "big"],
        ["", "", "", "", "about"],
        ["", "", "", "", ""],
    ]


def test_a_bad_packet_is_said_to_be_bad() -> None:
    assert pretty(b"") == "bad packet of 0 bytes: shorter than its headers say"
    assert pretty(b"\xa5" * 40) == "bad packet of 40 bytes: neither IPv4 nor IPv6"
    assert pretty_lines(b"\xa5" * 40) == "bad packet of 40 bytes: neither IPv4 nor IPv6"


def test_unknown_numbers_are_shown_as_numbers() -> None:
    data = bytearray(sample(4, TCP))
    data[9] = 200
    assert pretty(bytes(data)).startswith("IP 198.51.100.7 > 192.0.2.10: protocol 200 length 44")
    data[9] = 1
    data[20:22] = bytes((77, 5))
    assert "ICMP type 77 code 5" in pretty(bytes(data))
    data[9] = SCTP
    data[32] = 99
    assert "SCTP [chunk 99]" in pretty(bytes(data))


def test_fragments_are_shown_by_their_offset() -> None:
    data = bytearray(sample(4, UDP))
    data[6:8] = b"\x20\x00"
    assert "UDP first fragment length 24" in pretty(bytes(data))
    data[6:8] = b"\x00\x05"
    assert "198.51.100.7 > 192.0.2.10: UDP fragment at 40 length 32" in pretty(bytes(data))


def test_a_quote_cut_short_is_shown_as_far_as_it_goes() -> None:
    packet = Packet()
    for protocol, shown in (
        (TCP, "TCP seq 0, ttl 64"),
        (SCTP, "SCTP without a chunk length 0, ttl 64"),
    ):
        packet.load(sample(4, protocol))
        message = time_exceeded(packet)[: 8 + 28]
        start = b"\x45\x00" + (20 + len(message)).to_bytes(2, "big") + bytes(4) + b"\x40\x01"
        assert f"40000 > 192.0.2.10:80: {shown})" in pretty(start + bytes(10) + message)
