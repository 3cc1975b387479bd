"""What the printer says, of whole packets and of bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forwarders.plan import Encapsulate
from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.icmp import time_exceeded, too_big
from lvsd.packet.pretty import pretty_frame, pretty_lines
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import ICMPV6, SCTP, TCP, UDP, Packet
from tests.unit.packet.samples import sample

if TYPE_CHECKING:
    from forwarders.plan import TunnelKind


def test_each_layer_stands_on_a_line_with_its_checksum() -> None:
    assert pretty_lines(sample(4, UDP)).splitlines() == [
        "IPv4 198.51.100.7 > 192.0.2.10, ttl 64, length 52, checksum 0x8e73 (right)",
        "  UDP 40000 > 80 length 24, checksum 0xf247 (right)",
    ]


@pytest.mark.parametrize(
    ("version", "protocol", "shown"),
    [
        (4, TCP, "  TCP 40000 > 80 [ACK] seq 0 ack 0 win 8192 length 24, "),
        (6, UDP, "  UDP 40000 > 80 length 24, "),
        (4, SCTP, "  SCTP 40000 > 80 [DATA] length 40, "),
    ],
)
def test_a_transport_is_shown_with_its_ports_and_what_it_says(
    version: int, protocol: int, shown: str
) -> None:
    line = pretty_lines(sample(version, protocol)).splitlines()[1]
    assert line.startswith(shown + "checksum")
    assert line.endswith("(right)")


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_a_flipped_bit_shows_as_a_wrong_checksum(protocol: int) -> None:
    data = bytearray(sample(4, protocol))
    data[-1] ^= 1
    assert verdicts(data) == ["right", "wrong"]
    data[1] ^= 4
    assert verdicts(data) == ["wrong", "wrong"]


def verdicts(data: bytearray) -> list[str]:
    """Return what is said of the checksum of each layer."""
    lines = pretty_lines(bytes(data)).splitlines()
    return [line.rpartition("(")[2].rstrip(")") for line in lines]


def test_udp_without_a_checksum_is_not_wrong() -> None:
    data = bytearray(sample(4, UDP))
    data[26:28] = bytes(2)
    assert verdicts(data) == ["right", "unused"]


def test_an_error_shows_what_it_is_about() -> None:
    packet = Packet()
    packet.load(sample(6, TCP))
    source = pack("2001:db8::10")
    message = too_big(packet, 1280)
    carry = pseudo_header(source, packet.source, ICMPV6, len(message))
    message = message[:2] + checksum(message, carry).to_bytes(2, "big") + message[4:]
    header = b"\x60\x00\x00\x00" + len(message).to_bytes(2, "big") + bytes((ICMPV6, 60))
    lines = pretty_lines(header + source + packet.source + message).splitlines()
    assert [line.partition(", checksum")[0] for line in lines] == [
        "IPv6 2001:db8::10 > 2001:db8::7, ttl 60, length 132",
        "  ICMPv6 too big mtu 1280",
        "    about IPv6 2001:db8::7 > 2001:db8::10, ttl 64, length 84",
        "      TCP 40000 > 80 [ACK] seq 0 ack 0 win 8192 length 24",
    ]
    assert lines[1].endswith("(right)")


def test_a_bad_packet_is_said_to_be_bad() -> None:
    assert pretty_lines(b"") == "bad packet of 0 bytes: shorter than its headers say"
    assert pretty_lines(b"\xa5" * 40) == "bad packet of 40 bytes: neither IPv4 nor IPv6"


def test_unknown_numbers_are_shown_as_numbers() -> None:
    data = bytearray(sample(4, TCP))
    data[9] = 200
    assert pretty_lines(bytes(data)).endswith("\n  protocol 200 length 44")
    data[9] = 1
    data[20:22] = bytes((77, 5))
    assert "\n  ICMP type 77 code 5, " in pretty_lines(bytes(data))
    data[9] = SCTP
    data[32] = 99
    assert " [chunk 99] length " in pretty_lines(bytes(data))


def test_fragments_are_shown_by_their_offset() -> None:
    data = bytearray(sample(4, UDP))
    data[6:8] = b"\x20\x00"
    assert "\n  UDP 40000 > 80 first fragment length 24" in pretty_lines(bytes(data))
    data[6:8] = b"\x00\x05"
    assert pretty_lines(bytes(data)).endswith("\n  UDP fragment at 40 length 32")


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [(TCP, "TCP 40000 > 80 seq 0"), (SCTP, "SCTP 40000 > 80 without a chunk length 0")],
)
def test_a_quote_cut_short_is_shown_as_far_as_it_goes(protocol: int, shown: str) -> None:
    packet = Packet()
    packet.load(sample(4, protocol))
    message = time_exceeded(packet)[: 8 + 28]
    start = b"\x45\x00" + (20 + len(message)).to_bytes(2, "big") + bytes(4) + b"\x40\x01"
    assert pretty_lines(start + bytes(10) + message).endswith(f"\n      {shown}")


TOA4 = bytes((254, 8, 0x9C, 0x40, 198, 51, 100, 7))
TOA6 = bytes((253, 20, 0x9C, 0x40)) + pack("2001:db8::7")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            b"\x02\x04\x05\xb4\x04\x02\x03\x03\x07\x01\x00\x00",
            "mss 1460, sack permitted, wscale 7, nop",
        ),
        (b"\x08\x0a" + (7).to_bytes(4, "big") + (9).to_bytes(4, "big"), "ts 7 echo 9"),
        (b"\x05\x0a" + (1).to_bytes(4, "big") + (5).to_bytes(4, "big"), "sack 1-5"),
        (TOA4, "TOA 198.51.100.7:40000"),
        (TOA6, "TOA [2001:db8::7]:40000"),
        (b"\xfe\x04ab\x05\x04cd", "kind 254 of 4 bytes, kind 5 of 4 bytes"),
    ],
)
def test_the_options_of_tcp_stand_on_a_line_of_their_own(options: bytes, said: str) -> None:
    lines = pretty_lines(with_options(options)).splitlines()
    assert lines[2:] == [f"    options {said}"]


def with_options(options: bytes) -> bytes:
    """Return a TCP packet over IPv6, which has no checksum to mend, with these options."""
    words = -(-len(options) // 4)
    data = bytearray(sample(6, TCP, payload=0))
    data[52] = (5 + words) << 4
    data[4:6] = (20 + words * 4).to_bytes(2, "big")
    return bytes(data) + options.ljust(words * 4, b"\x00")


def test_a_frame_is_shown_with_its_ends() -> None:
    ends = bytes(range(6)) + bytes(range(6, 12))
    packet = sample(4, UDP)
    assert pretty_frame(ends + b"\x08\x00" + packet) == (
        "Ethernet 06:07:08:09:0a:0b > 00:01:02:03:04:05, IPv4\n" + pretty_lines(packet)
    )


@pytest.mark.parametrize(("rest", "said"), [(b"\x08\x06", "ARP"), (b"\x88\xcc\x00", "type 0x88cc")])
def test_a_frame_of_something_else_is_shown_as_that(rest: bytes, said: str) -> None:
    assert pretty_frame(bytes(12) + rest).endswith(f", {said}")


def test_a_frame_cut_short_is_said_to_be_bad() -> None:
    assert pretty_frame(bytes(13)) == "bad frame of 13 bytes: shorter than its header"


@pytest.mark.parametrize(
    ("kind", "port", "carrier"), [("ipip", 0, "IPIP"), ("gre", 0, "GRE"), ("gue", 6080, "UDP")]
)
@pytest.mark.parametrize("version", [4, 6])
def test_a_tunnel_shows_what_is_inside(
    version: int, kind: TunnelKind, port: int, carrier: str
) -> None:
    inner = sample(version, TCP)
    outer = tunnelled(inner, kind, port)
    lines = pretty_lines(outer, {6080}).splitlines()
    assert lines[0].startswith("IPv4 10.0.0.1 > 10.1.0.13, ttl 63, ")
    assert lines[1].split()[0] == ("IPv6" if (carrier, version) == ("IPIP", 6) else carrier)
    assert [line[4:].replace("ttl 63", "ttl 64")[:60] for line in lines[2:]] == [
        line[:60] for line in pretty_lines(inner).splitlines()
    ]


def tunnelled(inner: bytes, kind: TunnelKind = "ipip", port: int = 0) -> bytes:
    packet = Packet()
    packet.load(inner)
    step = Encapsulate(pack("10.0.0.1"), pack("10.1.0.13"), kind, port)
    return compile_tunnel(step).wrap(packet, 1)


def test_udp_to_another_port_than_gues_is_not_looked_into() -> None:
    assert len(pretty_lines(tunnelled(sample(4, TCP), "gue", 6080)).splitlines()) == 2


def test_a_tunnel_in_a_tunnel_is_not_looked_into() -> None:
    data = sample(4, TCP)
    for _ in range(1000):
        data = tunnelled(data)
    assert len(pretty_lines(data).splitlines()) == 4
