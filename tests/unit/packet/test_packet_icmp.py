"""When an ICMP error may be sent, and which errors belong to a connection."""

from __future__ import annotations

import pytest

from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum
from lvsd.packet.icmp import (
    embedded,
    is_error,
    may_answer,
    port_unreachable,
    time_exceeded,
    too_big,
)
from lvsd.packet.view import ICMP, ICMPV6, TCP, UDP, Fault, Packet
from tests.unit.packet import samples
from tests.unit.packet.samples import sample

CIP, CIP6 = samples.CIP[4], samples.CIP[6]
VIP, VIP6 = samples.VIP[4], samples.VIP[6]


def ip(
    source: str, destination: str, protocol: int = 47, body: bytes = bytes(8), fragment: int = 0
) -> Packet:
    """Load a packet between two addresses."""
    ends = pack(source) + pack(destination)
    if len(ends) == 8:
        start = b"\x45\x00" + (20 + len(body)).to_bytes(2, "big") + bytes(2)
        start += fragment.to_bytes(2, "big") + bytes((64, protocol, 0, 0))
    else:
        start = b"\x60\x00\x00\x00" + len(body).to_bytes(2, "big") + bytes((protocol, 64))
    packet = Packet()
    assert packet.load(start + ends + body) is None
    return packet


def error(quote: bytes, kind: int = 11, fragment: int = 0) -> Packet:
    """Load an ICMP error that quotes some bytes."""
    body = bytes((kind, 0, 0, 0)) + bytes(4) + quote
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    return ip(VIP, CIP, ICMP, body, fragment)


@pytest.mark.parametrize(
    ("source", "destination"),
    [(CIP, VIP), ("223.255.255.254", VIP), (CIP6, VIP6), ("fe80::1", VIP6)],
)
def test_a_single_host_that_wrote_to_a_single_host_is_answered(
    source: str, destination: str
) -> None:
    assert may_answer(ip(source, destination))


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("0.0.0.0", VIP),  # noqa: S104 - no socket is bound
        ("0.1.2.3", VIP),
        ("127.0.0.1", VIP),
        ("224.0.0.1", VIP),
        ("240.0.0.1", VIP),
        ("255.255.255.255", VIP),
        (CIP, "224.0.0.81"),
        (CIP, "255.255.255.255"),
        ("::", VIP6),
        ("::1", VIP6),
        ("ff02::1", VIP6),
        (CIP6, "ff02::1"),
    ],
)
def test_no_source_or_destination_but_a_single_host_is_answered(
    source: str, destination: str
) -> None:
    assert not may_answer(ip(source, destination))


def test_icmp_is_answered_but_for_errors_and_redirects() -> None:
    kinds = [0, 3, 4, 5, 8, 11, 12, 13]
    answered = [k for k in kinds if may_answer(ip(CIP, VIP, ICMP, bytes((k,)) + bytes(7)))]
    assert answered == [0, 8, 13]


def test_icmpv6_is_answered_but_for_errors_and_redirects() -> None:
    kinds = [1, 4, 127, 128, 129, 137, 138]
    answered = [k for k in kinds if may_answer(ip(CIP6, VIP6, ICMPV6, bytes((k,)) + bytes(7)))]
    assert answered == [128, 129, 138]


def test_of_fragments_the_first_is_answered_and_no_other() -> None:
    assert may_answer(ip(CIP, VIP, fragment=0x2000))
    assert not may_answer(ip(CIP, VIP, fragment=0x0001))


def test_an_error_quotes_as_much_as_fits() -> None:
    packet = Packet()
    packet.load(sample(4, TCP, 1400) + b"padding")
    assert time_exceeded(packet)[8:] == packet.data[: 576 - 28]
    packet.load(sample(4, TCP) + b"padding")
    assert port_unreachable(packet)[8:] == sample(4, TCP)
    packet.load(sample(6, UDP, 1400))
    assert too_big(packet, 1400)[8:] == packet.data[: 1280 - 48]


def test_an_mtu_that_no_field_of_icmp_holds_is_said_as_the_largest() -> None:
    packet = Packet()
    packet.load(sample(4, UDP))
    assert too_big(packet, 70_000)[:2] + too_big(packet, 70_000)[4:8] == bytes.fromhex(
        "03040000ffff"
    )
    packet.load(sample(6, UDP))
    assert too_big(packet, 70_000)[:8] == bytes.fromhex("0200 0000 00011170")


@pytest.mark.parametrize("kind", range(20))
def test_of_icmp_unreachable_quench_and_time_exceeded_belong_to_connections(kind: int) -> None:
    assert is_error(ip(CIP, VIP, ICMP, bytes((kind,)) + bytes(7))) is (kind in {3, 4, 11})


def test_of_icmpv6_all_errors_belong_to_connections() -> None:
    kinds = [1, 2, 3, 4, 127, 128, 137, 255]
    errors = [kind for kind in kinds if is_error(ip(CIP6, VIP6, ICMPV6, bytes((kind,)) + bytes(7)))]
    assert errors == [1, 2, 3, 4, 127]


def test_icmp_of_the_other_ip_version_is_no_error() -> None:
    assert not is_error(ip(CIP, VIP, ICMPV6, b"\x01" + bytes(7)))
    assert not is_error(ip(CIP6, VIP6, ICMP, b"\x03" + bytes(7)))
    assert not is_error(ip(CIP, VIP, TCP, bytes(12) + b"\x50" + bytes(7)))


def test_the_quoted_packet_is_found_inside_an_error() -> None:
    whole = Packet()
    whole.load(sample(4, TCP))
    inner = Packet()
    assert embedded(error(whole.data[:28]), inner) is None
    assert inner.key == whole.key


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (ip(CIP, VIP), Fault.NOT_AN_ERROR),
        (error(sample(4, TCP), kind=5), Fault.NOT_AN_ERROR),
        (error(sample(4, TCP), fragment=0x2000), Fault.FRAGMENTED),
        (error(sample(4, TCP), fragment=0x0001), Fault.NOT_AN_ERROR),
        (error(sample(6, TCP)), Fault.BAD_VERSION),
        (error(b""), Fault.TRUNCATED),
        (error(sample(4, TCP)[:27]), Fault.TRUNCATED),
        (ip(CIP, VIP, ICMP, b"\x0b\x00\x12\x34" + bytes(40)), Fault.BAD_CHECKSUM),
    ],
)
def test_what_holds_no_packet_is_refused(packet: Packet, fault: Fault) -> None:
    assert embedded(packet, Packet()) is fault
