"""What frames say: each header field by field, as people write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit, SCTPChunkSACK
from scapy.packet import Raw

from lvsd.explain.dissect import dissect, dissect_packet
from lvsd.packet.address import pack
from lvsd.packet.client_address import option_protocol, proxy_header, toa, uoa
from lvsd.packet.numbers import UDP as UDP_NUMBER

if TYPE_CHECKING:
    from lvsd.explain.model import Frame

MACS: Final = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ENDS: Final = {"src": "198.51.100.7", "dst": "192.0.2.10"}
ENDS_6: Final = {"src": "2001:db8::7", "dst": "2001:db8::10"}
CLIENT: Final = (pack("203.0.113.9"), 41000)
CLIENT_6: Final = (pack("2001:db8::9"), 41000)

ETHER: Final = Ether(**MACS)
IPV4: Final = ETHER / IP(**ENDS)
IPV6: Final = ETHER / IPv6(**ENDS_6)


def frame(packet: Any, gue_ports: tuple[int, ...] = ()) -> Frame:
    return dissect(bytes(packet), gue_ports=gue_ports)


def names(seen: Frame) -> list[str]:
    return [layer.name for layer in seen.layers]


def said(seen: Frame, name: str) -> dict[str, str]:
    layer = seen.get(name)
    assert layer is not None, names(seen)
    return {field.name: field.text for field in layer.fields}


def options(seen: Frame, name: str = "TCP") -> dict[str, str]:
    return {key: text for key, text in said(seen, name).items() if key.startswith("option ")}


def test_a_syn_is_told_field_by_field() -> None:
    syn = TCP(sport=40000, dport=80, seq=1000, flags="S", window=8192, chksum=0x325)
    seen = frame(ETHER / IP(**ENDS, id=0x1A2B, flags="DF", tos=0xBA) / syn)
    assert names(seen) == ["Ethernet", "IPv4", "TCP"]
    assert said(seen, "Ethernet") == {
        "destination": "02:00:00:00:00:02",
        "source": "02:00:00:00:00:01",
        "type": "IPv4",
    }
    assert said(seen, "IPv4") == {
        "version": "4",
        "header length": "20",
        "DSCP": "46",
        "ECN": "ECT(0)",
        "total length": "40",
        "identification": "0x1a2b",
        "flags": "DF",
        "fragment offset": "0",
        "TTL": "64",
        "protocol": "TCP",
        "header checksum": "0x33a6",
        "source": "198.51.100.7",
        "destination": "192.0.2.10",
    }
    assert said(seen, "TCP") == {
        "source port": "40000",
        "destination port": "80",
        "sequence number": "1000",
        "acknowledgement number": "0",
        "data offset": "20",
        "reserved": "0",
        "flags": "SYN",
        "window": "8192",
        "checksum": "0x0325",
        "urgent pointer": "0",
    }


def test_fields_say_where_they_lie() -> None:
    tcp = frame(IPV4 / TCP()).get("TCP")
    assert tcp is not None
    assert [(field.name, field.at, field.length) for field in tcp.fields] == [
        ("source port", 34, 2),
        ("destination port", 36, 2),
        ("sequence number", 38, 4),
        ("acknowledgement number", 42, 4),
        ("data offset", 46, 1),
        ("reserved", 46, 1),
        ("flags", 47, 1),
        ("window", 48, 2),
        ("checksum", 50, 2),
        ("urgent pointer", 52, 2),
    ]


def test_ipv6_is_told_field_by_field() -> None:
    seen = frame(ETHER / IPv6(**ENDS_6, tc=0xBB, fl=0x12345, hlim=3) / UDP(sport=53, dport=5353))
    assert names(seen) == ["Ethernet", "IPv6", "UDP"]
    assert said(seen, "IPv6") == {
        "version": "6",
        "DSCP": "46",
        "ECN": "CE",
        "flow label": "0x12345",
        "payload length": "8",
        "next header": "UDP",
        "hop limit": "3",
        "source": "2001:db8::7",
        "destination": "2001:db8::10",
    }
    assert list(said(seen, "UDP")) == ["source port", "destination port", "length", "checksum"]


def test_flags_stand_beside_each_other() -> None:
    assert said(frame(IPV4 / TCP(flags="SA")), "TCP")["flags"] == "SYN ACK"
    assert said(frame(IPV4 / TCP(flags=0)), "TCP")["flags"] == "none"
    assert said(frame(ETHER / IP(flags="DF+MF") / TCP()), "IPv4")["flags"] == "DF MF"


def test_options_of_tcp_are_fields() -> None:
    listed = [
        ("MSS", 1460),
        ("SAckOK", b""),
        ("Timestamp", (7, 9)),
        ("NOP", None),
        ("NOP", None),
        ("WScale", 7),
        ("NOP", None),
        ("SAck", (100, 200)),
    ]
    assert options(frame(IPV4 / TCP(options=listed))) == {
        "option MSS": "1460",
        "option SACK permitted": "yes",
        "option timestamp": "7 echo 9",
        "option NOP": "2 bytes",
        "option window scale": "7",
        "option NOP 2": "1 byte",
        "option SACK": "100-200",
    }


def test_an_option_that_nobody_knows_is_told_by_its_kind() -> None:
    seen = frame(IPV4 / TCP(options=[(77, b"\x01\x02"), ("EOL", None)]))
    assert options(seen) == {"option kind 77": "01 02", "option end": "4 bytes"}


@pytest.mark.parametrize(
    ("client", "text"),
    [
        (CLIENT, "203.0.113.9:41000"),
        (CLIENT_6, "[2001:db8::9]:41000"),
    ],
)
def test_toa_names_the_client(client: tuple[bytes, int], text: str) -> None:
    option = toa(*client, 254)
    assert options(frame(IPV4 / TCP(options=[(254, option[2:])]))) == {"option TOA": text}


def test_an_option_of_any_other_kind_is_not_taken_for_toa() -> None:
    data = bytes(IPV4 / TCP(options=[(200, toa(*CLIENT, 200)[2:])]))
    assert options(dissect(data)) == {"option kind 200": "a0 28 cb 00 71 09"}


def test_uoa_in_an_ip_option_names_the_client() -> None:
    packet = ETHER / IP(**ENDS, options=[IPOption(uoa(*CLIENT))]) / UDP()
    seen = frame(packet)
    assert options(seen, "IPv4") == {"option UOA": "203.0.113.9:41000"}
    assert said(seen, "IPv4")["header length"] == "28"


def test_uoa_in_its_own_protocol_is_a_layer() -> None:
    head = option_protocol(*CLIENT_6)
    seen = frame(ETHER / IPv6(**ENDS_6, nh=248) / Raw(head + bytes(UDP(sport=1, dport=2))))
    assert names(seen) == ["Ethernet", "IPv6", "UOA", "UDP"]
    assert said(seen, "UOA") == {
        "version": "2",
        "reserved": "0",
        "protocol": "UDP",
        "length": "24",
        "option UOA": "[2001:db8::9]:41000",
    }


def test_the_payload_is_quoted_at_its_beginning() -> None:
    data = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
    seen = frame(IPV4 / TCP() / Raw(data))
    assert said(seen, "payload") == {"data": "GET / HTTP/1.1..., 37 bytes"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"ping\n", "ping, 5 bytes"),
        (b"x", "x, 1 byte"),
        (b"a" * 40, "a" * 32 + "..., 40 bytes"),
        (b"\x16\x03\x01", "16 03 01, 3 bytes"),
        (bytes(range(17)), "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f..., 17 bytes"),
        ("ä".encode(), "c3 a4, 2 bytes"),
        (b"\r\n\r\n", "0d 0a 0d 0a, 4 bytes"),
    ],
)
def test_a_payload_is_text_or_bytes(data: bytes, text: str) -> None:
    assert said(frame(IPV4 / UDP() / Raw(data)), "payload") == {"data": text}


def test_what_stands_behind_the_packet_is_padding() -> None:
    seen = dissect(bytes(IPV4 / UDP() / Raw(b"a")).ljust(60, b"\0"))
    assert names(seen) == ["Ethernet", "IPv4", "UDP", "payload", "padding"]
    padding = seen.get("padding")
    assert padding is not None
    assert (padding.at, padding.length) == (43, 17)


def test_what_udp_does_not_count_is_surplus() -> None:
    packet = IPV4 / UDP(len=10) / Raw(b"abcde")
    assert names(frame(packet)) == ["Ethernet", "IPv4", "UDP", "payload", "surplus"]


def test_a_vlan_tag_is_a_layer() -> None:
    seen = frame(ETHER / Dot1Q(vlan=12, prio=5) / IP(**ENDS) / UDP())
    assert names(seen) == ["Ethernet", "802.1Q", "IPv4", "UDP"]
    assert said(seen, "Ethernet")["type"] == "802.1Q"
    assert said(seen, "802.1Q") == {
        "priority": "5",
        "drop eligible": "no",
        "VLAN": "12",
        "type": "IPv4",
    }


def test_tags_in_tags_have_numbers() -> None:
    seen = frame(Ether(**MACS, type=0x88A8) / Dot1Q(vlan=1) / Dot1Q(vlan=2) / IP() / UDP())
    assert names(seen) == ["Ethernet", "802.1Q", "802.1Q 2", "IPv4", "UDP"]


def test_arp_is_one_layer() -> None:
    ask = ARP(
        op=1, hwsrc=MACS["src"], psrc="192.0.2.1", hwdst="00:00:00:00:00:00", pdst="192.0.2.2"
    )
    seen = dissect(bytes(ETHER / ask).ljust(60, b"\0"))
    assert names(seen) == ["Ethernet", "ARP", "padding"]
    assert said(seen, "ARP") == {
        "hardware type": "Ethernet",
        "protocol type": "IPv4",
        "hardware length": "6",
        "protocol length": "4",
        "operation": "request",
        "sender MAC": "02:00:00:00:00:01",
        "sender address": "192.0.2.1",
        "target MAC": "00:00:00:00:00:00",
        "target address": "192.0.2.2",
    }


def test_what_is_no_ip_is_payload() -> None:
    seen = frame(Ether(**MACS, type=0x88CC) / Raw(b"lldp"))
    assert names(seen) == ["Ethernet", "payload"]
    assert said(seen, "Ethernet")["type"] == "0x88cc"


def test_a_length_in_the_place_of_a_type_is_one() -> None:
    seen = dissect(bytes(12) + b"\0\x03abc" + bytes(43))
    assert names(seen) == ["Ethernet", "payload", "padding"]
    assert said(seen, "Ethernet")["length"] == "3"


def test_an_ip_packet_needs_no_ethernet() -> None:
    assert names(dissect_packet(bytes(IP() / TCP()))) == ["IPv4", "TCP"]
    assert names(dissect_packet(bytes(IPv6() / TCP()))) == ["IPv6", "TCP"]


def test_sctp_has_a_field_for_each_chunk() -> None:
    chunks = SCTPChunkSACK() / SCTPChunkData(data=b"hello") / SCTPChunkData(data=b"world!")
    seen = frame(IPV4 / SCTP(sport=7, dport=9, tag=0xABCD, chksum=0x1234) / chunks)
    assert names(seen) == ["Ethernet", "IPv4", "SCTP"]
    assert said(seen, "SCTP") == {
        "source port": "7",
        "destination port": "9",
        "verification tag": "0x0000abcd",
        "checksum": "0x00001234",
        "chunk SACK": "16 bytes",
        "chunk DATA": "hello, 5 bytes",
        "chunk DATA 2": "world!, 6 bytes",
    }


def test_an_error_quotes_a_packet() -> None:
    quote = IP(src=ENDS["dst"], dst=ENDS["src"]) / TCP(sport=80, dport=40000, seq=5)
    seen = frame(IPV4 / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(bytes(quote)[:28]))
    assert names(seen) == ["Ethernet", "IPv4", "ICMP", "quoted IPv4", "quoted TCP"]
    icmp = said(seen, "ICMP")
    assert {name: icmp[name] for name in ("type", "code", "next-hop MTU")} == {
        "type": "unreachable",
        "code": "4",
        "next-hop MTU": "1400",
    }
    assert said(seen, "quoted TCP") == {
        "source port": "80",
        "destination port": "40000",
        "sequence number": "5",
    }


def test_a_quote_that_ends_within_a_field_says_so() -> None:
    seen = frame(IPV4 / ICMP(type=11) / Raw(bytes(IP() / TCP())[:31]))
    assert said(seen, "quoted TCP")["cut off"] == "3 bytes"


def test_a_quote_that_ends_within_a_chunk_is_not_malformed() -> None:
    quote = bytes(IP() / SCTP() / SCTPChunkData(data=b"hello"))
    seen = frame(IPV4 / ICMP(type=11) / Raw(quote[:34]))
    assert names(seen)[3:] == ["quoted IPv4", "quoted SCTP", "quoted payload"]


@pytest.mark.parametrize(
    ("between", "layers"),
    [
        (IP(), ["quoted inner IPv4"]),
        (GRE() / IP(), ["quoted GRE", "quoted inner IPv4"]),
        (UDP(dport=6080) / Raw(b"\0\4\0\0") / IP(), ["quoted UDP"]),
    ],
)
def test_a_quote_of_a_tunnels_packet_may_end_in_its_headers(
    between: Any, layers: list[str]
) -> None:
    quote = bytes(IP() / between / TCP())[:28]
    seen = frame(IPV4 / ICMP(type=11) / Raw(quote), gue_ports=(6080,))
    assert names(seen)[3:] == ["quoted IPv4", *layers]


def test_icmpv6_too_big_tells_the_mtu() -> None:
    seen = frame(IPV6 / ICMPv6PacketTooBig(mtu=1280) / IPv6(**ENDS_6) / UDP() / Raw(b"x"))
    quoted = ["quoted IPv6", "quoted UDP", "quoted payload"]
    assert names(seen) == ["Ethernet", "IPv6", "ICMPv6", *quoted]
    assert said(seen, "ICMPv6")["MTU"] == "1280"


@pytest.mark.parametrize(
    ("message", "layer", "fields"),
    [
        (ICMP(type=8, id=3, seq=4), "ICMP", {"identifier": "3", "sequence number": "4"}),
        (ICMP(type=5, gw="192.0.2.1"), "ICMP", {"gateway": "192.0.2.1"}),
        (ICMP(type=12, ptr=9), "ICMP", {"pointer": "9", "unused": "0x000000"}),
        (ICMP(type=13), "ICMP", {}),
    ],
)
def test_the_rest_of_icmp_is_the_types_own(
    message: Any, layer: str, fields: dict[str, str]
) -> None:
    icmp = said(frame(IPV4 / message), layer)
    assert {name: icmp[name] for name in fields} == fields


def test_icmpv6_echo_and_parameter_problem_have_their_own() -> None:
    echo = said(frame(IPV6 / ICMPv6EchoRequest(id=3, seq=4)), "ICMPv6")
    assert (echo["type"], echo["identifier"], echo["sequence number"]) == ("echo", "3", "4")
    problem = said(frame(IPV6 / ICMPv6ParamProblem(ptr=40) / IPv6() / UDP()), "ICMPv6")
    assert problem["pointer"] == "40"


def test_a_tunnel_has_a_packet_inside() -> None:
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80) / Raw(b"hi")
    seen = frame(IPV4 / inner)
    assert names(seen) == ["Ethernet", "IPv4", "inner IPv4", "inner TCP", "inner payload"]
    assert said(seen, "IPv4")["protocol"] == "IPIP"
    assert said(seen, "inner IPv4")["destination"] == "10.0.0.2"


def test_gre_with_all_its_fields_has_a_packet_inside() -> None:
    gre = GRE(chksum_present=1, key_present=1, seqnum_present=1, key=7, sequence_number=8)
    seen = frame(IPV4 / gre / IPv6(**ENDS_6) / UDP())
    assert names(seen) == ["Ethernet", "IPv4", "GRE", "inner IPv6", "inner UDP"]
    fields = said(seen, "GRE")
    del fields["checksum"]
    assert fields == {
        "flags": "checksum key sequence",
        "version": "0",
        "protocol": "IPv6",
        "reserved": "0x0000",
        "key": "0x00000007",
        "sequence number": "8",
    }


@pytest.mark.parametrize("gre", [GRE(version=1), GRE(routing_present=1, chksum_present=1)])
def test_gre_that_is_laid_out_otherwise_has_a_payload(gre: Any) -> None:
    gre.proto = 0x0800
    seen = frame(ETHER / IP(**ENDS, proto=47) / Raw(bytes(gre)[:4] + bytes(IP() / UDP())))
    assert names(seen) == ["Ethernet", "IPv4", "GRE", "payload"]


def test_gue_is_what_goes_to_one_of_its_ports() -> None:
    inner = bytes(IP(**ENDS) / UDP())
    packet = IPV4 / UDP(dport=6080) / Raw(bytes((1, 4, 0, 0)) + bytes(4) + inner)
    assert names(frame(packet)) == ["Ethernet", "IPv4", "UDP", "payload"]
    seen = frame(packet, gue_ports=(6080,))
    assert names(seen) == ["Ethernet", "IPv4", "UDP", "GUE", "inner IPv4", "inner UDP"]
    assert said(seen, "GUE") == {
        "variant": "0",
        "control": "no",
        "header length": "8",
        "protocol": "IPIP",
        "flags": "0x0000",
        "extensions": "4 bytes",
    }


def test_gue_of_variant_1_has_no_header() -> None:
    packet = IPV4 / UDP(dport=6080) / Raw(bytes(IP(**ENDS) / UDP()))
    assert names(frame(packet, gue_ports=(6080,)))[3:] == ["inner IPv4", "inner UDP"]


def test_an_error_about_a_tunnel_quotes_both_headers() -> None:
    quote = IP() / IP() / TCP()
    seen = frame(IPV4 / ICMP(type=3, code=1) / quote)
    assert names(seen)[3:] == ["quoted IPv4", "quoted inner IPv4", "quoted inner TCP"]


def test_an_error_in_a_tunnel_is_told_to_its_quote() -> None:
    seen = frame(IPV4 / IP() / ICMP(type=11) / IP() / UDP())
    expected = ["inner IPv4", "inner ICMP", "inner quoted IPv4", "inner quoted UDP"]
    assert names(seen)[2:] == expected


def test_tunnels_are_not_followed_without_end() -> None:
    packet = IPV4 / IP() / IP() / IP() / IP() / IP() / UDP()
    seen = names(frame(packet))
    assert seen[-2:] == ["inner inner inner inner IPv4", "inner inner inner inner payload"]


def test_proxy_protocol_names_both_ends() -> None:
    header = proxy_header(6, CLIENT, (pack("192.0.2.10"), 80))
    seen = frame(IPV4 / TCP() / Raw(header + b"GET"))
    assert names(seen) == ["Ethernet", "IPv4", "TCP", "PROXY v2", "payload"]
    assert said(seen, "PROXY v2") == {
        "signature": "0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a",
        "version": "2",
        "command": "PROXY",
        "family": "IPv4",
        "transport": "TCP",
        "length": "12",
        "source": "203.0.113.9",
        "destination": "192.0.2.10",
        "source port": "41000",
        "destination port": "80",
    }


def test_proxy_protocol_may_have_more_behind_the_ports() -> None:
    header = bytearray(proxy_header(UDP_NUMBER, CLIENT_6, CLIENT_6) + b"\x04\0\x02ab\x05")
    header[15] += 6
    seen = said(frame(IPV6 / UDP() / Raw(bytes(header))), "PROXY v2")
    assert (seen["TLV 0x04"], seen["rest"]) == ("2 bytes", "1 byte")


def test_extension_headers_are_layers() -> None:
    packet = (
        IPV6
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
        / IPv6ExtHdrRouting(segleft=0, addresses=["2001:db8::1"])
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
        / AH(nh=6, spi=9, seq=4, icv=bytes(12), payloadlen=4)
        / TCP()
    )
    seen = frame(packet)
    assert names(seen) == [
        "Ethernet",
        "IPv6",
        "destination options",
        "routing header",
        "destination options 2",
        "authentication header",
        "TCP",
    ]
    assert said(seen, "IPv6")["next header"] == "destination options"
    assert said(seen, "routing header")["segments left"] == "0"
    assert said(seen, "authentication header")["SPI"] == "0x00000009"


def test_an_authentication_header_stands_behind_ipv4_too() -> None:
    seen = frame(IPV4 / AH(nh=17, spi=9, icv=bytes(12), payloadlen=4) / UDP())
    assert names(seen) == ["Ethernet", "IPv4", "authentication header", "UDP"]


def test_a_first_fragment_has_ports_and_a_later_one_none() -> None:
    datagram = bytes(UDP(len=1000) / Raw(bytes(40)))
    first = ETHER / IP(**ENDS, flags="MF", proto=17) / Raw(datagram)
    later = ETHER / IP(**ENDS, frag=6, proto=17) / Raw(datagram)
    assert names(frame(first)) == ["Ethernet", "IPv4", "UDP", "payload"]
    assert names(frame(later)) == ["Ethernet", "IPv4", "payload"]
    assert said(frame(later), "IPv4")["fragment offset"] == "48"


def test_a_fragment_of_ipv6_says_so_in_a_header_of_its_own() -> None:
    first = IPV6 / IPv6ExtHdrFragment(m=1, id=7) / UDP(len=1000)
    later = IPV6 / IPv6ExtHdrFragment(offset=6, id=7, nh=17) / Raw(bytes(8))
    assert names(frame(first)) == ["Ethernet", "IPv6", "fragment header", "UDP"]
    assert names(frame(later)) == ["Ethernet", "IPv6", "fragment header", "payload"]
    assert said(frame(later), "fragment header") == {
        "next header": "UDP",
        "reserved": "0x00",
        "fragment offset": "48",
        "flags": "none",
        "identification": "0x00000007",
    }


def test_a_chunk_of_sctp_is_named_by_its_type() -> None:
    assert "chunk INIT" in said(frame(IPV4 / SCTP() / SCTPChunkInit()), "SCTP")
