"""TCP's options: the walk over any of them, and the clamped MSS."""

from __future__ import annotations

import pytest

from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.numbers import TCP, TcpFlag
from lvsd.packet.tcp_options import MSS, NOP, SACK, TIMESTAMP, clamp_mss, find, options
from lvsd.packet.view import Packet
from tests.unit.packet.samples import sample

MSS_1460 = bytes((MSS, 4, 5, 180))


def segment(
    written: bytes, version: int = 4, flags: int = TcpFlag.SYN, cut: int | None = None
) -> Packet:
    """Load a TCP packet with options as written, or what an error quotes of it up to ``cut``."""
    plain = sample(version, TCP, payload=0)
    l4 = len(plain) - 20
    header = bytearray(plain[l4:] + written)
    header[12] = len(header) << 2
    header[13] = flags
    header[16:18] = bytes(2)
    addresses = plain[l4 - 8 : l4] if version == 4 else plain[8:40]
    half = len(addresses) // 2
    carry = pseudo_header(addresses[:half], addresses[half:], TCP, len(header))
    header[16:18] = checksum(header, carry).to_bytes(2, "big")
    ip = bytearray(plain[:l4])
    if version == 4:
        ip[2:4] = (l4 + len(header)).to_bytes(2, "big")
    else:
        ip[4:6] = len(header).to_bytes(2, "big")
    packet = Packet()
    data = bytes(ip + header)
    assert packet.load(data[:cut], quoted=cut is not None) is None
    return packet


def mss_of(data: bytes, packet: Packet) -> int:
    """Return the MSS that a packet laid out as ``packet`` says; fail unless its checksum holds."""
    half = len(packet.source)
    addresses = data[12:20] if packet.version == 4 else data[8:40]
    carry = pseudo_header(addresses[:half], addresses[half:], TCP, len(data) - packet.l4)
    assert checksum(data[packet.l4 :], carry) == 0
    at = find(packet, MSS)
    assert at is not None
    return int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("version", [4, 6])
def test_each_option_is_named_with_its_place_and_length(version: int) -> None:
    timestamp = bytes((TIMESTAMP, 10)) + bytes(8)
    packet = segment(MSS_1460 + bytes((NOP, NOP)) + timestamp, version)
    at = packet.l4 + 20
    assert options(packet) == [
        (MSS, at, 4),
        (NOP, at + 4, 1),
        (NOP, at + 5, 1),
        (TIMESTAMP, at + 6, 10),
    ]
    assert find(packet, TIMESTAMP) == at + 6
    assert find(packet, SACK) is None


def test_what_follows_the_end_of_the_list_is_no_option() -> None:
    packet = segment(bytes((NOP, NOP, NOP, 0)) + MSS_1460)
    assert [kind for kind, _, _ in options(packet)] == [NOP, NOP, NOP]


@pytest.mark.parametrize(
    "garbage",
    [
        bytes((TIMESTAMP, 0, 0, 0)),
        bytes((TIMESTAMP, 1, 0, 0)),
        bytes((TIMESTAMP, 10, 0, 0)),
        bytes((NOP, NOP, NOP, TIMESTAMP)),
    ],
    ids=["length 0", "length 1", "past the header", "no length"],
)
def test_the_walk_ends_at_an_option_that_cannot_be(garbage: bytes) -> None:
    packet = segment(MSS_1460 + garbage)
    assert {kind for kind, _, _ in options(packet)} <= {MSS, NOP}
    assert find(packet, MSS) == packet.l4 + 20


@pytest.mark.parametrize("protocol", [17, 132])
def test_other_protocols_have_no_options(protocol: int) -> None:
    packet = Packet()
    assert packet.load(sample(4, protocol)) is None
    assert options(packet) == []


def test_a_quote_has_the_options_that_were_quoted_whole() -> None:
    written = MSS_1460 + bytes((TIMESTAMP, 10)) + bytes(10)
    for cut in range(28, 28 + 12 + len(written)):
        packet = segment(written, cut=cut)
        quoted = cut - (packet.l4 + 20)
        assert len(options(packet)) == (quoted >= 4) + (quoted >= 14)


def test_a_later_fragment_has_no_options() -> None:
    data = bytearray(segment(MSS_1460).data)
    data[6:8] = (185).to_bytes(2, "big")
    packet = Packet()
    assert packet.load(bytes(data)) is None
    assert options(packet) == []
    assert clamp_mss(data, packet, 500) == data


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", [TcpFlag.SYN, TcpFlag.SYN | TcpFlag.ACK])
def test_a_syn_gets_a_lower_mss_and_a_right_checksum(version: int, flags: int) -> None:
    packet = segment(MSS_1460, version, flags)
    assert mss_of(clamp_mss(packet.data, packet, 1440), packet) == 1440


def test_an_mss_at_an_odd_place_is_lowered_with_a_right_checksum() -> None:
    packet = segment(bytes((NOP,)) + MSS_1460 + bytes(3))
    assert mss_of(clamp_mss(packet.data, packet, 1001), packet) == 1001


def test_an_mss_is_never_raised() -> None:
    packet = segment(MSS_1460)
    assert clamp_mss(packet.data, packet, 1460) == packet.data
    assert clamp_mss(packet.data, packet, 9000) == packet.data


def test_every_mss_of_a_syn_that_has_several_is_lowered() -> None:
    packet = segment(MSS_1460 + MSS_1460)
    out = clamp_mss(packet.data, packet, 1200)
    assert mss_of(out, packet) == 1200
    assert out[packet.l4 + 26 :] == (1200).to_bytes(2, "big")


def test_a_syn_without_the_option_gets_none() -> None:
    packet = segment(bytes((MSS, 3, 5, NOP)))
    assert clamp_mss(packet.data, packet, 500) == packet.data


def test_a_packet_that_is_no_syn_keeps_what_looks_like_an_mss() -> None:
    packet = segment(MSS_1460, flags=TcpFlag.ACK)
    assert clamp_mss(packet.data, packet, 500) == packet.data


def test_the_ends_of_a_rewritten_packet_stay() -> None:
    packet = segment(MSS_1460)
    moved = bytearray(packet.data)
    moved[16:20] = bytes((10, 0, 0, 11))
    out = clamp_mss(moved, packet, 1400)
    assert out[16:20] == bytes((10, 0, 0, 11))
    assert moved[packet.l4 + 22 : packet.l4 + 24] == (1460).to_bytes(2, "big")
