"""What a host answers to a packet of no connection, compared with what scapy builds."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkCookieEcho,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)
from scapy.packet import Raw

from lvsd.packet.refusal import refusal
from lvsd.packet.view import Packet

A, B = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "198.51.100.2", 6: "2001:db8:1::2"}
SEQ, ACK = 0xFFFFFFF0, 0x80000001

pytestmark = pytest.mark.parametrize("version", [4, 6])


def _from(version: int, source: dict[int, str], destination: dict[int, str], body: Any) -> Any:
    ends = {"src": source[version], "dst": destination[version]}
    header = IP(**ends, id=0, flags="DF") if version == 4 else IPv6(**ends)
    return header / body


def _refused(version: int, body: Any) -> Any:
    """Return the transport layer of the answer to what A sends, None without an answer."""
    packet = Packet()
    assert packet.load(bytes(_from(version, A, B, body))) is None
    answer = refusal(packet)
    if answer is None:
        return None
    assert packet.load(answer) is None
    header = IP(answer) if version == 4 else IPv6(answer)
    layer = header.payload
    # scapy works out lengths and checksums anew: they must be what they are.
    assert bytes(_from(version, B, A, layer.__class__(bytes(layer)))) == answer
    assert (layer.sport, layer.dport) == (80, 40000)
    fresh = layer.copy()
    del fresh.chksum
    assert bytes(_from(version, B, A, fresh)) == answer
    return layer


def _segment(flags: str, payload: bytes = b"") -> Any:
    return TCP(sport=40000, dport=80, flags=flags, seq=SEQ, ack=ACK) / payload


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "SA"])
def test_a_segment_that_acknowledges_gets_a_reset_at_what_it_acknowledges(
    version: int, flags: str
) -> None:
    answer = _refused(version, _segment(flags, b"data"))
    assert (str(answer.flags), answer.seq, answer.ack) == ("R", ACK, 0)


@pytest.mark.parametrize(
    ("flags", "payload", "length"),
    [("S", b"", 1), ("S", b"x" * 20, 21), ("F", b"", 1), ("P", b"xyz", 3), ("", b"", 0)],
)
def test_any_other_segment_gets_a_reset_that_acknowledges_all_of_it(
    version: int, flags: str, payload: bytes, length: int
) -> None:
    answer = _refused(version, _segment(flags, payload))
    assert (str(answer.flags), answer.seq) == ("RA", 0)
    assert answer.ack == (SEQ + length) % 2**32


def test_the_options_of_a_segment_do_not_count_as_data(version: int) -> None:
    syn = TCP(sport=40000, dport=80, flags="S", seq=7, options=[("MSS", 1460), ("SAckOK", b"")])
    assert _refused(version, syn).ack == 8


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_gets_no_answer(version: int, flags: str) -> None:
    assert _refused(version, _segment(flags)) is None


def test_a_damaged_segment_gets_no_answer(version: int) -> None:
    damaged = _segment("A", b"data")
    damaged.chksum = 1
    assert _refused(version, damaged) is None


def test_a_datagram_gets_no_answer_of_its_own_protocol(version: int) -> None:
    assert _refused(version, UDP(sport=40000, dport=80) / Raw(b"x")) is None


def test_a_fragment_gets_no_answer(version: int) -> None:
    packet = Packet()
    whole = _from(version, A, B, _segment("A", bytes(64)))
    if version == 4:
        whole.flags = "MF"
    else:
        whole = IPv6(src=A[6], dst=B[6]) / IPv6ExtHdrFragment(m=1) / whole.payload
    assert packet.load(bytes(whole)) is None
    assert refusal(packet) is None


def _chunks(*chunks: Any, tag: int = 77) -> Any:
    body = SCTP(sport=40000, dport=80, tag=tag)
    for chunk in chunks:
        body /= chunk
    return body


@pytest.mark.parametrize(
    "chunk", [SCTPChunkData(data=b"data"), SCTPChunkCookieEcho(cookie=b"1234")]
)
def test_a_packet_of_no_association_gets_an_abort_with_its_own_tag(
    version: int, chunk: Any
) -> None:
    answer = _refused(version, _chunks(chunk))
    assert answer.tag == 77
    assert bytes(answer.payload) == bytes((6, 1, 0, 4))


def test_an_init_gets_an_abort_with_the_tag_that_it_offers(version: int) -> None:
    answer = _refused(version, _chunks(SCTPChunkInit(init_tag=99), tag=0))
    assert answer.tag == 99
    assert bytes(answer.payload) == bytes((6, 0, 0, 4))


def test_a_shutdown_ack_is_told_that_the_shutdown_is_complete(version: int) -> None:
    answer = _refused(version, _chunks(SCTPChunkShutdownAck()))
    assert answer.tag == 77
    assert bytes(answer.payload) == bytes((14, 1, 0, 4))


@pytest.mark.parametrize(
    "chunks",
    [
        (SCTPChunkAbort(),),
        (SCTPChunkCookieEcho(cookie=b"123"), SCTPChunkAbort()),
        (SCTPChunkShutdownComplete(),),
        (SCTPChunkCookieAck(),),
        (),
    ],
)
def test_what_ends_an_association_gets_no_answer(version: int, chunks: tuple[Any, ...]) -> None:
    assert _refused(version, _chunks(*chunks)) is None


def test_a_chunk_that_lies_about_its_length_gets_no_answer(version: int) -> None:
    for length in range(4):
        assert _refused(version, _chunks(Raw(bytes((0, 0, 0, length))))) is None
    assert _refused(version, _chunks(Raw(bytes((1, 0, 0, 4))))) is None
