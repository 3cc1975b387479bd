"""A frame in short: what is always the same is left out, and a wrong checksum is called so."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from lvsd.explain import explain
from lvsd.explain.dissect import dissect, dissect_packet
from lvsd.explain.output.lines import lines

SYN = IP(src="198.51.100.7", dst="192.0.2.10") / TCP(sport=40000, options=[("MSS", 1460)])


def test_a_packet_has_a_line_a_layer_and_one_for_options() -> None:
    frame = dissect(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / SYN))
    assert list(lines(frame)) == [
        "Ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02, type IPv4",
        "IPv4 198.51.100.7 > 192.0.2.10, total length 44, TTL 64, header checksum 0x8e86 (right)",
        "  TCP 40000 > 80, sequence number 0, flags SYN, window 8192, checksum 0xef50 (right)",
        "    options MSS 1460",
    ]


def test_a_wrong_checksum_is_called_so() -> None:
    data = bytearray(bytes(SYN))
    data[-1] ^= 1
    assert "(wrong)" in list(lines(dissect_packet(bytes(data))))[1]


def test_what_is_quoted_stands_further_right() -> None:
    quoted = IP(src="192.0.2.10", dst="198.51.100.7") / UDP(sport=53, dport=40000) / b"hello"
    data = bytes(IP(src="203.0.113.1", dst="192.0.2.10") / ICMP(type=3, code=3) / quoted)
    said = list(lines(dissect_packet(data)))
    assert [line[: len(line) - len(line.lstrip()) + 4] for line in said] == [
        "IPv4",
        "  ICMP",
        "    IPv4",
        "      UDP ",
        "      payl",
    ]


def test_what_is_in_a_tunnel_begins_with_the_same_words_as_outside_of_it() -> None:
    hops = explain("tun").journeys[0].hops
    sent, wrapped = (list(lines(hop.frame)) for hop in hops[:3:2])
    assert wrapped[1].startswith("IPv4 10.0.0.1 > 10.1.0.13, ")
    assert [line.split()[0] for line in wrapped[2:]] == [line.split()[0] for line in sent[1:]]
    assert wrapped[3] == f"    {sent[2]}"
