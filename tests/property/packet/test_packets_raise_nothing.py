"""No bytes whatsoever raise anything: random, mutated, truncated, full of 0xa5."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvsd.packet.build import icmp_message, icmpv6_message, ip_packet, seal
from lvsd.packet.view import ICMP, ICMPV6
from tests.fuzz.exercise import exercise
from tests.property.examples import examples
from tests.property.packet.packets import Shape, endpoints, shapes

EXAMPLES = examples(300)
POISON: Final = 0xA5


@EXAMPLES
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing(data: bytes) -> None:
    exercise(data)


@EXAMPLES
@given(st.sampled_from((0x45, 0x46, 0x4F, 0x60)), st.binary(min_size=19, max_size=200))
def test_random_bytes_with_a_version_raise_nothing(first: int, data: bytes) -> None:
    exercise(bytes((first,)) + data)


@EXAMPLES
@given(shapes(), st.data())
def test_valid_packets_with_mutated_headers_raise_nothing(
    shape: Shape, data: st.DataObject
) -> None:
    packet = bytearray(drawn(shape, data))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(packet), 100) - 1))
        packet[at] = data.draw(st.integers(0, 255))
    exercise(bytes(packet))


@examples(15)
@given(shapes(max_payload=20), st.data())
def test_truncation_at_each_length_raises_nothing(shape: Shape, data: st.DataObject) -> None:
    whole = drawn(shape, data)
    for length in range(len(whole)):
        exercise(whole[:length])
        exercise(whole[:length].ljust(len(whole), bytes((POISON,))))
        exercise(quoting(shape.version, whole[:length]))


@pytest.mark.parametrize("length", range(0, 128, 3))
@pytest.mark.parametrize("first", [POISON, 0x45, 0x65])
def test_a_buffer_full_of_0xa5_raises_nothing(first: int, length: int) -> None:
    exercise((bytes((first,)) + bytes((POISON,)) * length)[:length])


@pytest.mark.parametrize("size", [0, 4, 8, 12, 20, 60])
def test_no_protocol_number_raises_anything(size: int) -> None:
    for protocol in range(256):
        start = b"\x45\x00" + (20 + size).to_bytes(2, "big") + bytes(4) + bytes((9, protocol))
        exercise(start + bytes(10 + size))
        start = b"\x60\x00\x00\x00" + size.to_bytes(2, "big") + bytes((protocol, 9))
        exercise(start + bytes(32 + size))


def test_errors_quoting_errors_two_thousand_deep_raise_nothing() -> None:
    exercise(nested(2000))


def nested(depth: int) -> bytes:
    """Return ICMP errors, each quoted by the one before; the checksums are wrong."""
    levels = []
    for level in range(depth):
        size = 28 * (depth - level)
        levels.append(b"\x45\x00" + size.to_bytes(2, "big") + bytes(4) + b"\x40\x01" + bytes(10))
        levels.append(b"\x0b" + bytes(7))
    return b"".join(levels)


def quoting(version: int, quote: bytes) -> bytes:
    """Return time exceeded about a packet; for hundreds of them scapy would take seconds."""
    if version == 4:
        ends = bytes(4), bytes(4)
        return ip_packet(*ends, ICMP, icmp_message(11, 0, 0, quote))
    ends = bytes(16), bytes(16)
    return ip_packet(*ends, ICMPV6, seal(icmpv6_message(3, 0, 0, quote), ICMPV6, *ends))


def drawn(shape: Shape, data: st.DataObject) -> bytes:
    source, destination = (data.draw(endpoints(shape.version)) for _ in range(2))
    return shape.write(source, destination)
