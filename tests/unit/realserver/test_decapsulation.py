"""Outer headers taken off, without any socket: what passes, what is refused, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from lvsd.packet.address import pack
from lvsd.packet.checksum import pseudo_header
from lvsd.realserver.decapsulation import Carrier, Counts, Decapsulation, with_congestion

if TYPE_CHECKING:
    from scapy.packet import Packet

CLIENT4, CLIENT6 = "203.0.113.5", "2001:db8:c::5"
VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
DIRECTOR = pack("10.0.0.1")


def inner(version: int, *, tos: int = 0) -> Packet:
    udp = UDP(sport=40000, dport=53) / Raw(b"question")
    if version == 4:
        return IP(src=CLIENT4, dst=VIP4, tos=tos) / udp
    return IPv6(src=CLIENT6, dst=VIP6, tc=tos) / udp


def decapsulation(*directors: bytes) -> Decapsulation:
    return Decapsulation([pack(VIP4), pack(VIP6)], directors)


def gue(version: int, options: bytes = b"", *, first: int = 0, flags: int = 0) -> bytes:
    head = bytes((first | len(options) // 4, {4: 4, 6: 41}[version])) + flags.to_bytes(2, "big")
    return head + options + bytes(inner(version))


def gre(inside: int, **fields: int) -> bytes:
    made = GRE(proto=0x0800 if inside == 4 else 0x86DD, **fields)
    return bytes(made / Raw(bytes(inner(inside))))


@pytest.mark.parametrize("version", [4, 6])
def test_each_carrier_gives_the_packet_that_was_put_in(version: int) -> None:
    ip_in_ip = Carrier.IPV4 if version == 4 else Carrier.IPV6
    for carrier, payload in (
        (ip_in_ip, bytes(inner(version))),
        (ip_in_ip, bytes(inner(version)) + b"padding"),
        (Carrier.GRE, gre(version)),
        (Carrier.GRE, gre(version, chksum_present=1)),
        (Carrier.GUE, gue(version)),
        (Carrier.GUE, gue(version, b"\xa5" * 8)),
    ):
        taken = decapsulation().take(carrier, DIRECTOR, 0, payload)
        assert taken == bytes(inner(version))


@pytest.mark.parametrize(
    ("carrier", "payload"),
    [
        (Carrier.IPV4, b""),
        (Carrier.IPV4, bytes(inner(6))),
        (Carrier.IPV6, bytes(inner(4))),
        (Carrier.IPV4, bytes(inner(4))[:-1]),
        (Carrier.GRE, gre(4, key_present=1)),
        (Carrier.GRE, gre(4, seqnum_present=1)),
        (Carrier.GRE, gre(4, version=1)),
        (Carrier.GRE, gre(4, chksum_present=1)[:-1] + b"\xa5"),
        (Carrier.GRE, b"\0\0\x65\x58" + bytes(60)),
        (Carrier.GUE, gue(4, first=0x40)),
        (Carrier.GUE, gue(4, first=0x20)),
        (Carrier.GUE, gue(4, flags=0x8000)),
        (Carrier.GUE, b"\x1f\x04\0\0"),
        (Carrier.GUE, b"\0\x06\0\0" + bytes(inner(4))),
    ],
)
def test_what_holds_no_packet_for_us_is_malformed(carrier: Carrier, payload: bytes) -> None:
    tried = decapsulation()
    assert tried.take(carrier, DIRECTOR, 0, payload) is None
    assert tried.counts == Counts(malformed=1)


@pytest.mark.parametrize(
    ("source", "destination"), [(CLIENT4, "10.0.0.2"), (VIP4, VIP4), (CLIENT4, "192.0.2.11")]
)
def test_only_packets_to_a_virtual_address_and_not_from_one_pass(
    source: str, destination: str
) -> None:
    tried = decapsulation()
    packet = bytes(IP(src=source, dst=destination) / UDP())
    assert tried.take(Carrier.IPV4, DIRECTOR, 0, packet) is None
    assert tried.counts == Counts(not_virtual=1)


def test_named_directors_alone_may_send() -> None:
    tried = decapsulation(DIRECTOR)
    packet = bytes(inner(4))
    assert tried.take(Carrier.IPV4, DIRECTOR, 0, packet) == packet
    assert tried.take(Carrier.IPV4, pack("10.0.0.9"), 0, packet) is None
    assert tried.counts == Counts(not_director=1)


NOT_ECT, ECT1, ECT0, CE = range(4)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("arriving", "results"),
    [
        (ECT1, {NOT_ECT: NOT_ECT, ECT0: ECT1, ECT1: ECT1, CE: CE}),
        (ECT0, {NOT_ECT: NOT_ECT, ECT0: ECT0, ECT1: ECT1, CE: CE}),
        (CE, {NOT_ECT: None, ECT0: CE, ECT1: CE, CE: CE}),
    ],
)
def test_congestion_is_handed_on_as_rfc_6040_says(
    version: int, arriving: int, results: dict[int, int | None]
) -> None:
    for inside, result in results.items():
        dscp = 0b101110 << 2
        packet = bytes(inner(version, tos=dscp | inside))
        expected = None if result is None else bytes(inner(version, tos=dscp | result))
        assert with_congestion(packet, arriving) == expected


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", [TCP(dport=80), UDP(dport=53)])
def test_a_checksum_of_the_pseudo_header_alone_is_to_be_computed(
    version: int, transport: Packet
) -> None:
    network = IP(src=CLIENT4, dst=VIP4) if version == 4 else IPv6(src=CLIENT6, dst=VIP6)
    packet = network / transport.copy() / Raw(b"payload")
    tried = decapsulation()
    carrier = Carrier.IPV4 if version == 4 else Carrier.IPV6
    assert tried.take(carrier, DIRECTOR, 0, bytes(packet)) == bytes(packet)
    assert tried.checksum_start() is None
    protocol, place = (6, 16) if TCP in packet else (17, 6)
    source, destination = (CLIENT4, VIP4) if version == 4 else (CLIENT6, VIP6)
    length = len(bytes(packet)) - (20 if version == 4 else 40)
    total = pseudo_header(pack(source), pack(destination), protocol, length) % 0xFFFF
    packet.getlayer(transport.__class__).chksum = total
    tried.take(carrier, DIRECTOR, 0, bytes(packet))
    assert tried.checksum_start() == (20 if version == 4 else 40, place)


@given(
    st.sampled_from(Carrier),
    st.binary(max_size=80),
    st.integers(0, 255),
    st.sampled_from([b"", gre(4), gue(6), bytes(inner(4)), bytes(inner(6))]),
)
def test_no_bytes_raise_and_each_packet_is_counted_or_handed_on(
    carrier: Carrier, noise: bytes, tos: int, good: bytes
) -> None:
    tried = decapsulation()
    taken = tried.take(carrier, DIRECTOR, tos, (good + noise)[: len(noise) + 20] + good)
    refused = tried.counts.malformed + tried.counts.not_virtual + tried.counts.congested
    assert refused == (taken is None)
    if taken is not None:
        tried.checksum_start()
