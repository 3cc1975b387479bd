"""ICMP errors, built and passed on, are what scapy writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
)
from scapy.packet import Raw

from lvsd.packet import icmp
from lvsd.packet.view import Fault, Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, addresses, endpoints, error, ip_header, shapes

EXAMPLES = examples(150)


@EXAMPLES
@given(shapes(max_payload=1400), st.data(), st.integers(68, 9000))
def test_errors_about_a_packet_are_what_scapy_writes(
    shape: Shape, data: st.DataObject, mtu: int
) -> None:
    source, destination = (data.draw(endpoints(shape.version)) for _ in range(2))
    packet = load(shape.write(source, destination))
    router = data.draw(addresses(shape.version))
    if shape.version == 4:
        quote = packet.data[: 576 - 20 - 8]
        expected = {
            icmp.time_exceeded(packet): ICMP(type=11, code=0),
            icmp.port_unreachable(packet): ICMP(type=3, code=3),
            icmp.too_big(packet, mtu): ICMP(type=3, code=4, nexthopmtu=mtu),
        }
        for message, header in expected.items():
            assert message == bytes(header / Raw(quote))
    else:
        quote = packet.data[: 1280 - 40 - 8]
        expected = {
            icmp.time_exceeded(packet): ICMPv6TimeExceeded(code=0),
            icmp.port_unreachable(packet): ICMPv6DestUnreach(code=4),
            icmp.too_big(packet, mtu): ICMPv6PacketTooBig(mtu=mtu),
        }
        for message, header in expected.items():
            ip = ip_header(6, router, source[0])
            whole = bytes(ip / header / Raw(quote))[40:]
            assert message == whole[:2] + bytes(2) + whole[4:]


@EXAMPLES
@given(shapes(protocols=("tcp", "udp")), st.data())
def test_an_error_about_a_reply_goes_on_to_the_real_server(
    shape: Shape, data: st.DataObject
) -> None:
    real, virtual, client = (data.draw(endpoints(shape.version)) for _ in range(3))
    router = data.draw(addresses(shape.version))
    before, after = (shape.write(end, client) for end in (virtual, real))
    cut = data.draw(cuts(shape, before))
    packet = load(error(shape.version, router, virtual[0], before[:cut]))
    inner = Packet()
    assert icmp.embedded(packet, inner) is None
    assert (inner.source, inner.source_port) == virtual
    assert icmp.rewrite_error(packet, inner, outer_destination=real[0], inner_source=real) == error(
        shape.version, router, real[0], after[:cut]
    )


@EXAMPLES
@given(shapes(protocols=("tcp", "udp")), st.data())
def test_an_error_about_a_request_comes_to_the_client_from_the_vip(
    shape: Shape, data: st.DataObject
) -> None:
    real, virtual, client = (data.draw(endpoints(shape.version)) for _ in range(3))
    before, after = (shape.write(client, end) for end in (real, virtual))
    cut = data.draw(cuts(shape, before))
    packet = load(error(shape.version, real[0], client[0], before[:cut]))
    inner = Packet()
    assert icmp.embedded(packet, inner) is None
    assert (inner.destination, inner.destination_port) == real
    assert icmp.rewrite_error(
        packet, inner, outer_source=virtual[0], inner_destination=virtual
    ) == error(shape.version, virtual[0], client[0], after[:cut])


@EXAMPLES
@given(shapes(), st.data())
def test_an_error_with_one_flipped_bit_is_found_out(shape: Shape, data: st.DataObject) -> None:
    source, destination = (data.draw(endpoints(shape.version)) for _ in range(2))
    whole = error(shape.version, destination[0], source[0], shape.write(source, destination))
    packet = load(whole)
    at = data.draw(st.integers(packet.l4 + 2, packet.end - 1))
    damaged = bytearray(whole)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    assert icmp.embedded(load(bytes(damaged)), Packet()) is Fault.BAD_CHECKSUM


def load(data: bytes) -> Packet:
    packet = Packet()
    assert packet.load(data) is None
    return packet


def cuts(shape: Shape, quoted: bytes) -> st.SearchStrategy[int]:
    """Return lengths to cut a quote to: from 8 bytes of transport on, no checksum in two."""
    packet = load(quoted)
    halved = packet.l4 + 17 if shape.protocol == "tcp" else 0
    lengths = st.integers(packet.l4 + 8, packet.end)
    return lengths.filter(lambda length: length != halved)
