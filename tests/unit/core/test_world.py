"""The packets of the tests' small world are scapy's own."""

from __future__ import annotations

import pytest

from tests.unit.core.world import World, raw, written


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_packet_with_any_port_is_what_scapy_writes(version: int, protocol: str) -> None:
    world = World(version)
    segments = [
        world.from_client(protocol=protocol, cport=cport) for cport in range(1, 0x10000, 151)
    ]
    assert [raw(each) for each in segments] == [written(each) for each in segments]


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_of_zero_is_written_as_scapy_does(version: int) -> None:
    """UDP writes 0xffff instead, TCP does not."""
    world = World(version)
    for protocol, at in (("tcp", 16), ("udp", 6)):
        start = (20 if version == 4 else 40) + at
        first = written(world.from_client(protocol=protocol, cport=1))
        zero = 1 + int.from_bytes(first[start : start + 2], "big")
        for cport in (zero - 1, zero, zero + 1):
            segment = world.from_client(protocol=protocol, cport=cport)
            assert raw(segment) == written(segment)
