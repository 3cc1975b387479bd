"""What is cut off or cannot be: as much as there is, and one layer that says what is wrong."""

from __future__ import annotations

from typing import Any, Final

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from lvsd.explain.dissect import dissect
from lvsd.packet.view import Fault

MACS: Final = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHER: Final = Ether(**MACS)
IPV4: Final = ETHER / IP(src="127.0.0.1", dst="127.0.0.1")
TCP_FRAME: Final = bytes(IPV4 / TCP() / Raw(b"hello"))


def told(data: bytes) -> list[tuple[str, int]]:
    """Return the layers, each with its length."""
    return [(layer.name, layer.length) for layer in dissect(data).layers]


def fault(data: bytes) -> str | None:
    layer = dissect(data).get("malformed")
    return layer.fields[0].text if layer else None


@pytest.mark.parametrize(
    ("length", "layers"),
    [
        (0, [("malformed", 0)]),
        (5, [("malformed", 5)]),
        (6, [("Ethernet", 6), ("malformed", 0)]),
        (13, [("Ethernet", 12), ("malformed", 1)]),
        (14, [("Ethernet", 14), ("malformed", 0)]),
        (33, [("Ethernet", 14), ("IPv4", 16), ("malformed", 3)]),
        (34, [("Ethernet", 14), ("IPv4", 20), ("malformed", 0)]),
        (47, [("Ethernet", 14), ("IPv4", 20), ("TCP", 13), ("malformed", 0)]),
        (54, [("Ethernet", 14), ("IPv4", 20), ("TCP", 20), ("malformed", 0)]),
        (56, [("Ethernet", 14), ("IPv4", 20), ("TCP", 20), ("payload", 2), ("malformed", 0)]),
    ],
)
def test_a_frame_that_is_cut_off_ends_in_what_is_missing(
    length: int, layers: list[tuple[str, int]]
) -> None:
    assert told(TCP_FRAME[:length]) == layers
    assert fault(TCP_FRAME[:length]) == Fault.TRUNCATED.value


@pytest.mark.parametrize(
    ("packet", "layers", "wrong"),
    [
        (Ether(**MACS, type=0x800) / Raw(b"\x60" * 30), [("malformed", 30)], Fault.BAD_VERSION),
        (Ether(**MACS, type=0x86DD) / Raw(b"\x45" * 50), [("malformed", 50)], Fault.BAD_VERSION),
        (ETHER / IP(ihl=4), [("IPv4", 20), ("malformed", 0)], Fault.BAD_HEADER_LENGTH),
        (ETHER / IP(len=19) / UDP(), [("IPv4", 20), ("malformed", 8)], Fault.BAD_LENGTH),
        (
            IPV4 / TCP(dataofs=4) / Raw(b"abc"),
            [("IPv4", 20), ("TCP", 20), ("malformed", 3)],
            Fault.BAD_HEADER_LENGTH,
        ),
        (
            IPV4 / UDP(len=7) / Raw(b"abc"),
            [("IPv4", 20), ("UDP", 8), ("malformed", 3)],
            Fault.BAD_LENGTH,
        ),
        (
            IPV4 / UDP(len=30) / Raw(b"abc"),
            [("IPv4", 20), ("UDP", 8), ("payload", 3), ("malformed", 0)],
            Fault.BAD_LENGTH,
        ),
        (
            IPV4 / SCTP() / SCTPChunkData(len=3, data=b"abc"),
            [("IPv4", 20), ("SCTP", 12), ("malformed", 20)],
            Fault.BAD_LENGTH,
        ),
        (
            IPV4 / SCTP() / SCTPChunkData(len=300, data=b"abc"),
            [("IPv4", 20), ("SCTP", 12), ("malformed", 20)],
            Fault.BAD_LENGTH,
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_fault(
    packet: Any, layers: list[tuple[str, int]], wrong: Fault
) -> None:
    data = bytes(packet)
    assert told(data) == [("Ethernet", 14), *layers]
    assert fault(data) == wrong.value


def test_a_tcp_header_that_reaches_past_its_packet_is_of_a_bad_length() -> None:
    data = bytes(IPV4 / TCP(dataofs=6) / Raw(b"ab"))
    assert told(data)[2:] == [("TCP", 20), ("malformed", 2)]
    assert fault(data) == Fault.BAD_HEADER_LENGTH.value


def test_padding_stands_behind_what_is_malformed() -> None:
    data = bytes(IPV4 / UDP(len=7) / Raw(b"abc")) + bytes(15)
    assert told(data)[2:] == [("UDP", 8), ("malformed", 3), ("padding", 15)]


def test_an_option_that_cannot_be_takes_the_rest_of_them() -> None:
    data = bytearray(bytes(IPV4 / TCP(options=[("MSS", 1460), ("SAckOK", b""), ("NOP", None)])))
    data[59] = 9
    tcp = dissect(bytes(data)).get("TCP")
    assert tcp is not None
    assert [(field.name, field.text) for field in tcp.fields[-2:]] == [
        ("option MSS", "1460"),
        ("option malformed", "4 bytes"),
    ]


def test_too_many_extension_headers_are_a_fault() -> None:
    packet = ETHER / IPv6()
    for _ in range(9):
        packet /= IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    data = bytes(packet / UDP())
    assert len(told(data)) == 1 + 1 + 8 + 1
    assert fault(data) == Fault.TOO_MANY_HEADERS.value


def test_a_packet_in_a_tunnel_that_is_longer_than_it_is_cut_off() -> None:
    data = bytes(IPV4 / IP(len=100) / UDP(len=8))
    assert told(data)[2:] == [("inner IPv4", 20), ("inner UDP", 8), ("malformed", 0)]


def test_a_first_fragment_of_a_tunnels_packet_lacks_nothing() -> None:
    data = bytes(ETHER / IP(flags="MF") / IP(len=100) / UDP(len=80) / Raw(b"abc"))
    assert told(data)[2:] == [("inner IPv4", 20), ("inner UDP", 8), ("inner payload", 3)]
