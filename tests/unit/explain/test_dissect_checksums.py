"""Checksums computed anew are scapy's; a wrong one is told with the right one beside it."""

from __future__ import annotations

from typing import Any, Final

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
)
from scapy.layers.l2 import GRE, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from lvsd.explain.dissect import dissect
from lvsd.explain.headers.checksums import checksums
from tests.unit.explain.checksum_faults import checksum_faults

MACS: Final = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHER: Final = Ether(**MACS)
IPV4: Final = ETHER / IP(src="127.0.0.1", dst="127.0.0.1")
IPV6: Final = ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2")


def known(packet: Any) -> list[tuple[str, str]]:
    """Return the checksums that are as they have to be."""
    return [
        (layer, field)
        for layer, field, value, whole in checksums(dissect(bytes(packet)))
        if value == whole
    ]


def unknown(packet: Any) -> list[str]:
    """Return the layers of which nobody knows what their checksum has to be."""
    return [layer for layer, _, _, whole in checksums(dissect(bytes(packet))) if whole is None]


@pytest.mark.parametrize(
    ("packet", "layers"),
    [
        (IPV4 / TCP() / Raw(b"odd"), ["TCP"]),
        (IPV4 / UDP() / Raw(b"odd"), ["UDP"]),
        (IPV4 / ICMP() / Raw(b"odd"), ["ICMP"]),
        (IPV4 / SCTP() / SCTPChunkData(data=b"odd"), ["SCTP"]),
        (ETHER / IP(options=[IPOption(b"\x1f\x04ab")]) / TCP(), ["TCP"]),
        (IPV4 / GRE(chksum_present=1) / IPv6() / UDP(), ["GRE", "inner UDP"]),
    ],
)
def test_a_right_checksum_comes_out_of_the_packet(packet: Any, layers: list[str]) -> None:
    assert known(packet) == [("IPv4", "header checksum"), *((name, "checksum") for name in layers)]
    assert checksum_faults(dissect(bytes(packet))) == []


@pytest.mark.parametrize(
    ("packet", "layer"),
    [
        (IPV6 / TCP() / Raw(b"odd"), "TCP"),
        (IPV6 / UDP() / Raw(b"odd"), "UDP"),
        (IPV6 / ICMPv6EchoRequest(data=b"odd"), "ICMPv6"),
        (IPV6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / UDP(), "UDP"),
        (IPV6 / IPv6ExtHdrFragment() / UDP(), "UDP"),
    ],
)
def test_ipv6_has_no_checksum_of_its_own(packet: Any, layer: str) -> None:
    assert known(packet) == [(layer, "checksum")]


def test_padding_is_not_summed_up() -> None:
    assert known(bytes(IPV4 / TCP()) + b"\xa5" * 6) == known(IPV4 / TCP())


@pytest.mark.parametrize(
    ("packet", "sentence"),
    [
        (IPV4 / UDP(chksum=3) / Raw(b"dd"), "UDP: checksum 0x0003 is wrong, 0x9d09 would be right"),
        (
            ETHER / IP(src="127.0.0.1", dst="127.0.0.1", chksum=1) / UDP(),
            "IPv4: header checksum 0x0001 is wrong, 0x7cce would be right",
        ),
        (
            IPV4 / SCTP(chksum=1),
            "SCTP: checksum 0x00000001 is wrong, 0x5db5602b would be right",
        ),
    ],
)
def test_a_wrong_checksum_is_told_with_the_right_one(packet: Any, sentence: str) -> None:
    assert checksum_faults(dissect(bytes(packet))) == [sentence]


@pytest.mark.parametrize("head", [IPV4 / TCP(), IPV4 / ICMP(), IPV6 / TCP()])
@pytest.mark.parametrize("zero", [0, 0xFFFF])
def test_both_zeros_of_ones_complement_are_right(head: Any, zero: int) -> None:
    """Linux sends 0xffff when it finishes a checksum in software, over TCP too."""
    without = head.__class__(bytes(head / Raw(bytes(2))))
    rest = without.lastlayer().underlayer.chksum.to_bytes(2, "big")
    packet = head / Raw(rest)
    assert packet.__class__(bytes(packet)).lastlayer().underlayer.chksum == 0
    packet = packet.__class__(bytes(packet))
    packet.lastlayer().underlayer.chksum = zero

    found = checksums(dissect(bytes(packet)))[-1]
    assert (found.value, found.whole) == (zero, zero)
    assert checksum_faults(dissect(bytes(packet))) == []


def test_udps_right_checksum_is_never_0() -> None:
    words = IPV4 / UDP(chksum=1) / Raw(b"\0\0")
    (_, (_, _, _, right)) = checksums(dissect(bytes(words)))
    assert right is not None
    (_, checked) = checksums(dissect(bytes(IPV4 / UDP(chksum=1) / Raw(right.to_bytes(2, "big")))))
    assert checked.whole == 0xFFFF


def test_udps_0_is_unused() -> None:
    assert unknown(IPV4 / UDP(chksum=0)) == ["UDP"]
    assert checksum_faults(dissect(bytes(IPV4 / UDP(chksum=0)))) == []


def test_what_is_not_all_there_has_no_right_checksum() -> None:
    whole = bytes(IPV4 / TCP() / Raw(b"hello"))
    assert unknown(whole[:-1]) == ["TCP"]
    assert unknown(ETHER / IP(flags="MF") / UDP()) == ["UDP"]
    assert unknown(IPV6 / IPv6ExtHdrFragment(m=1) / UDP()) == ["UDP"]
    assert unknown(IPV4 / UDP(len=30)) == ["UDP"]


def test_of_a_quote_the_ip_header_alone_is_there() -> None:
    error = IPV4 / ICMP(type=3) / IP() / TCP()
    assert known(error)[-1] == ("quoted IPv4", "header checksum")
    assert unknown(error) == ["quoted TCP"]
    assert unknown(IPV6 / ICMPv6PacketTooBig() / IPv6() / UDP()) == ["quoted UDP"]


def test_half_a_header_has_no_right_checksum() -> None:
    assert unknown(bytes(IPV4)[:30]) == ["IPv4"]
