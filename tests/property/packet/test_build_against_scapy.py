"""Packets made from nothing are, byte for byte, what scapy makes of the same fields."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.layers.sctp import SCTP

from lvsd.packet import build, numbers
from lvsd.packet.address import text
from lvsd.packet.layout import IPV4, LAYOUTS, LEAST_BYTES
from lvsd.packet.view import Endpoint, Packet
from tests.property.examples import examples
from tests.property.packet.packets import endpoints, u16

EXAMPLES = examples(200)
u32 = st.integers(0, 0xFFFFFFFF)
byte = st.integers(0, 255)
versions = st.sampled_from((4, 6))
payloads = st.binary(max_size=60)


def two_ends(version: int, data: st.DataObject) -> tuple[Endpoint, Endpoint]:
    return data.draw(endpoints(version)), data.draw(endpoints(version))


def whole(source: Endpoint, destination: Endpoint, protocol: int, segment: bytes) -> bytes:
    return build.ip_packet(source[0], destination[0], protocol, segment)


def around(source: Endpoint, destination: Endpoint, layer: Any) -> bytes:
    """Return scapy's packet as hosts send it: TTL 64, of IPv4 with DF."""
    ends = {"src": text(source[0]), "dst": text(destination[0])}
    if len(source[0]) == 4:
        return bytes(IP(**ends, id=0, flags="DF") / layer)
    return bytes(IPv6(**ends, hlim=64) / layer)


@EXAMPLES
@given(st.data(), u16, byte, byte, st.sampled_from(("", "DF")), payloads)
def test_an_ipv4_header_is_scapys(
    data: st.DataObject, number: int, ttl: int, dsfield: int, flags: str, payload: bytes
) -> None:
    (source, _), (destination, _) = two_ends(4, data)
    built = build.ip_packet(
        source,
        destination,
        253,
        payload,
        ttl=ttl,
        dsfield=dsfield,
        identification=number,
        dont_fragment=flags == "DF",
    )
    ends = {"src": text(source), "dst": text(destination)}
    header = IP(**ends, id=number, ttl=ttl, tos=dsfield, flags=flags, proto=253)
    assert built == bytes(header / payload)


@EXAMPLES
@given(st.data(), st.integers(0, 0xFFFFF), byte, byte, payloads)
def test_an_ipv6_header_is_scapys(
    data: st.DataObject, label: int, hops: int, dsfield: int, payload: bytes
) -> None:
    (source, _), (destination, _) = two_ends(6, data)
    built = build.ip_packet(
        source, destination, 253, payload, ttl=hops, dsfield=dsfield, flow_label=label
    )
    ends = {"src": text(source), "dst": text(destination)}
    header = IPv6(**ends, hlim=hops, tc=dsfield, fl=label, nh=253)
    assert built == bytes(header / payload)


@EXAMPLES
@given(versions, st.data(), u32, u32, u16, st.integers(0, 255), st.integers(0, 10), payloads)
def test_a_tcp_segment_is_scapys(
    version: int,
    data: st.DataObject,
    seq: int,
    ack: int,
    window: int,
    flags: int,
    words: int,
    payload: bytes,
) -> None:
    source, destination = two_ends(version, data)
    options = b"\1" * 4 * words
    segment = build.tcp_segment(
        source, destination, flags, seq, ack, window=window, options=options, payload=payload
    )
    layer = TCP(
        sport=source[1],
        dport=destination[1],
        seq=seq,
        ack=ack,
        flags=flags,
        window=window,
        options=[("NOP", None)] * len(options),
    )
    expected = around(source, destination, layer / payload)
    assert whole(source, destination, numbers.TCP, segment) == expected


@EXAMPLES
@given(versions, st.data(), payloads)
def test_a_udp_datagram_is_scapys(version: int, data: st.DataObject, payload: bytes) -> None:
    source, destination = two_ends(version, data)
    datagram = build.udp_datagram(source, destination, payload)
    layer = UDP(sport=source[1], dport=destination[1]) / payload
    assert whole(source, destination, numbers.UDP, datagram) == around(source, destination, layer)


@EXAMPLES
@given(versions, st.data(), u32, payloads)
def test_an_sctp_packet_is_scapys(
    version: int, data: st.DataObject, tag: int, chunks: bytes
) -> None:
    source, destination = two_ends(version, data)
    packet = build.sctp_packet(source[1], destination[1], tag.to_bytes(4, "big"), chunks)
    layer = SCTP(sport=source[1], dport=destination[1], tag=tag) / chunks
    assert whole(source, destination, numbers.SCTP, packet) == around(source, destination, layer)


@EXAMPLES
@given(byte, byte, u32, payloads)
def test_an_icmp_message_has_scapys_checksum(kind: int, code: int, rest: int, body: bytes) -> None:
    message = build.icmp_message(kind, code, rest, body)
    layer = ICMP(message)
    del layer.chksum
    assert message == bytes(layer)


@EXAMPLES
@given(st.data(), byte, byte, u32, payloads)
def test_a_sealed_icmpv6_message_has_a_right_checksum(
    data: st.DataObject, kind: int, code: int, rest: int, body: bytes
) -> None:
    source, destination = two_ends(6, data)
    bare = build.icmpv6_message(kind, code, rest, body)
    assert bare[2:4] == bytes(2)
    message = build.seal(bare, numbers.ICMPV6, source[0], destination[0])
    header = IPv6(src=text(source[0]), dst=text(destination[0]))
    check = in6_chksum(numbers.ICMPV6, header, bare)
    assert message == bare[:2] + check.to_bytes(2, "big") + bare[4:]


@EXAMPLES
@given(versions, st.data(), u32, st.one_of(st.none(), u32))
def test_a_reset_is_scapys(version: int, data: st.DataObject, seq: int, ack: int | None) -> None:
    source, destination = two_ends(version, data)
    ends = {"sport": source[1], "dport": destination[1]}
    layer = TCP(**ends, seq=seq, ack=ack or 0, flags="R" if ack is None else "RA", window=0)
    assert build.reset(source, destination, seq, ack) == around(source, destination, layer)


@EXAMPLES
@given(versions, st.data(), byte, payloads)
def test_the_description_reads_what_was_built(
    version: int, data: st.DataObject, ttl: int, payload: bytes
) -> None:
    (source, _), (destination, _) = two_ends(version, data)
    built = build.ip_packet(source, destination, 253, payload, ttl=ttl)
    layout = LAYOUTS[version]
    reader = layout.reader("length", "ttl", "protocol", "source", "destination")
    length, *between, said_source, said_destination = reader.unpack_from(built)
    assert length + layout.uncounted == len(built)
    assert between == ([ttl, 253] if layout is IPV4 else [253, ttl])
    assert (said_source, said_destination) == (source, destination)
    assert (built[layout.ttl_at], built[layout.protocol_at]) == (ttl, 253)
    packet = Packet()
    assert packet.load(built) is None
    assert (packet.l4, packet.source, packet.destination) == (layout.length, source, destination)


def test_the_shortest_headers_are_as_long_as_scapys() -> None:
    layers = {numbers.TCP: TCP(), numbers.UDP: UDP(), numbers.SCTP: SCTP(), numbers.ICMP: ICMP()}
    assert {number: len(layer) for number, layer in layers.items()} == {
        number: LEAST_BYTES[number] for number in layers
    }
    assert {4: len(IP()), 6: len(IPv6())} == {n: layout.length for n, layout in LAYOUTS.items()}
