"""The doctor's SYN and RST are what scapy reads in them, and answers are told from others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lvsd.doctor import segments
from lvsd.doctor.snapshot import Handshake, Syn
from lvsd.packet.address import pack

SOURCE = {4: "10.0.0.1", 6: "fd00:10::1"}
VIP = {4: "192.0.2.10", 6: "2001:db8::10"}
PORT, VPORT = 40000, 443
US, NUMBER = 0xFFFF, 0xFFFF
SEQUENCE = 0xFFFFFFFF


def asked(version: int, neighbour: bytes | None = None) -> Syn:
    return Syn(pack(SOURCE[version]), pack(VIP[version]), VPORT, neighbour)


def read(packet: bytes) -> IP | IPv6:
    """Return what scapy reads, once it has found the checksums right."""
    found = IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)
    again = found.copy()
    del again[TCP].chksum
    if packet[0] >> 4 == 4:
        del again.chksum
    assert bytes(again) == packet
    return found


def answer(version: int, flags: str, **fields: Any) -> bytes:
    ends = {"src": VIP[version], "dst": SOURCE[version]}
    ip = IP(**ends) if version == 4 else IPv6(**ends)
    segment = {"sport": VPORT, "dport": PORT, "flags": flags, "ack": 0} | fields
    return bytes(ip / TCP(**segment))


@pytest.mark.parametrize(("version", "mss"), [(4, 1460), (6, 1440)])
def test_a_syn_announces_the_mss_of_ethernet(version: int, mss: int) -> None:
    packet = read(segments.syn(asked(version), PORT, US, NUMBER))

    assert (packet.src, packet.dst) == (SOURCE[version], VIP[version])
    tcp = packet[TCP]
    assert (tcp.sport, tcp.dport, tcp.flags, tcp.seq) == (PORT, VPORT, "S", SEQUENCE)
    assert tcp.options == [("MSS", mss)]


@pytest.mark.parametrize("version", [4, 6])
def test_a_reset_follows_the_syn(version: int) -> None:
    tcp = read(segments.reset(asked(version), PORT, US, NUMBER))[TCP]
    assert (tcp.sport, tcp.dport, tcp.flags, tcp.seq) == (PORT, VPORT, "R", 0)


@pytest.mark.parametrize(("neighbour", "hops"), [(None, 64), (pack("10.0.0.11"), 2)])
def test_a_syn_to_a_neighbour_does_not_come_back_by_a_router(
    neighbour: bytes | None, hops: int
) -> None:
    four, six = (segments.syn(asked(version, neighbour), PORT, US, NUMBER) for version in (4, 6))
    assert (read(four).ttl, read(six).hlim) == (hops, hops)


@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_ack_tells_its_mss(version: int) -> None:
    options = [("NOP", None), ("MSS", 1400), ("SAckOK", b"")]
    packet = answer(version, "SA", options=options)
    assert segments.told(packet, PORT, US) == (NUMBER, Handshake(accepted=True, mss=1400))


@pytest.mark.parametrize(("version", "mss"), [(4, 536), (6, 1220)])
def test_a_syn_ack_without_an_mss_means_the_default(version: int, mss: int) -> None:
    told = segments.told(answer(version, "SA"), PORT, US)
    assert told == (NUMBER, Handshake(accepted=True, mss=mss))


@pytest.mark.parametrize("version", [4, 6])
def test_a_reset_tells_that_nobody_listens(version: int) -> None:
    told = segments.told(answer(version, "RA"), PORT, US)
    assert told == (NUMBER, Handshake(accepted=False))


@pytest.mark.parametrize(
    ("flags", "fields"),
    [("A", {}), ("S", {}), ("R", {}), ("SA", {"dport": PORT + 1}), ("SA", {"ack": 0xFFFF})],
)
@pytest.mark.parametrize("version", [4, 6])
def test_what_answers_no_syn_of_ours_tells_nothing(
    version: int, flags: str, fields: dict[str, int]
) -> None:
    assert segments.told(answer(version, flags, **fields), PORT, US) is None


@given(st.binary(max_size=120))
def test_nothing_that_comes_raises(data: bytes) -> None:
    assert segments.told(data, PORT, US) is None


@given(st.binary(min_size=8, max_size=60))
def test_no_tcp_header_that_comes_raises(data: bytes) -> None:
    head = bytes(IP(src=VIP[4], dst=SOURCE[4], proto=6, len=20 + len(data)))
    port = int.from_bytes(data[2:4], "big")
    identifier = int.from_bytes(data[8:10].ljust(2, b"\0"), "big")
    told = segments.told(head + data, port, identifier)
    assert told is None or 0 <= told[0] <= 0xFFFF
