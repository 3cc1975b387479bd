"""What FULLNAT's translation makes of any packet is what scapy writes; no bytes raise anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from forwarders.fullnat import ClientAddress, Fullnat
from lvsd.packet import icmp
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.exchange import whole
from lvsd.packet.tcp_translation import TcpTranslation
from lvsd.packet.view import Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, endpoints, error, shapes, u32
from tests.unit.packet.translations import AllEnds, load, translated, write

if TYPE_CHECKING:
    from lvsd.packet.translation import Translation

EXAMPLES: Final = examples(120)
MASK: Final = 0xFFFFFFFF
SYN: Final = 0x02
MTU: Final = 9000
WAYS: Final[tuple[ClientAddress, ...]] = ("toa", "proxy-v2", "none")


@st.composite
def moves(draw: st.DrawFn, /, **options: Any) -> tuple[Shape, AllEnds]:
    """Return a packet without SYN, and client, virtual, local and real ends."""
    shape = draw(shapes(**options))
    if shape.protocol == "tcp":
        shape.transport["flags"] &= ~SYN
    end = endpoints(shape.version)
    return shape, (draw(end), draw(end), draw(end), draw(end))


@EXAMPLES
@given(moves(protocols=("tcp",)), u32, u32, u32, st.binary(max_size=20))
def test_a_segment_gets_its_ends_and_number_with_any_options(
    move: tuple[Shape, AllEnds], client_isn: int, server_isn: int, isn: int, padding: bytes
) -> None:
    shape, (client, virtual, local, real) = move
    connection = opened(move[1], "none", client_isn, server_isn, isn)
    packet = load(shape.write(client, virtual) + padding)
    ttl = max(packet.ttl - 1, 0)
    assert connection.request(packet, MTU) == [
        renumbered(shape, "seq", isn - client_isn).write(local, real, ttl)
    ]
    packet = load(shape.write(real, local) + padding)
    moved = renumbered(shape, "ack", client_isn - isn) if packet.flags & 0x10 else shape
    assert connection.reply(packet) == moved.write(virtual, client, ttl)


@EXAMPLES
@given(moves(protocols=("udp",)), st.sampled_from(WAYS))
def test_a_datagram_gets_its_ends_with_any_options(
    move: tuple[Shape, AllEnds], way: ClientAddress
) -> None:
    shape, (client, virtual, local, real) = move
    connection = translation(move[1], 17, way)
    packet = load(shape.write(real, local))
    ttl = packet.ttl - 1
    assert connection.reply(packet) == shape.write(virtual, client, ttl)
    packet = load(shape.write(client, virtual))
    for _ in range(4):
        out = connection.request(packet, MTU)
    told = way == "proxy-v2" or (way == "toa" and packet.l4 > 52)
    if not told:
        assert out == [shape.write(local, real, ttl)]


@EXAMPLES
@given(moves(protocols=("tcp", "udp"), plain=True))
def test_the_plain_way_and_the_general_one_agree(move: tuple[Shape, AllEnds]) -> None:
    shape, (client, virtual, *_) = move
    packet = load(shape.write(client, virtual))
    ends, numbers = move[1], (7, 8, 9)
    plain = opened(ends, "none", *numbers, protocol=shape.number)
    general = opened(ends, "none", *numbers, protocol=shape.number)
    (out,) = plain.request(packet, MTU)
    if isinstance(general, TcpTranslation):
        general._numbering.telling = True
        assert general.request(packet, MTU) == [out]
    else:
        assert whole(packet, general._to_server) == out


@examples(150)
@given(moves(protocols=("tcp", "udp")), st.sampled_from(WAYS), st.data())
def test_garbage_raises_nothing(
    move: tuple[Shape, AllEnds], way: ClientAddress, data: st.DataObject
) -> None:
    shape, (client, virtual, local, real) = move
    connection = opened(move[1], way, *data.draw(st.tuples(u32, u32, u32)), protocol=shape.number)
    for _ in range(4):
        whole = bytearray(shape.write(client, virtual))
        for _ in range(data.draw(st.integers(0, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        packet, inner = Packet(), Packet()
        if packet.load(bytes(whole)) is None and packet.protocol == shape.number:
            if packet.version != shape.version:
                continue
            for out in connection.request(packet, data.draw(st.integers(0, 70000))):
                assert Packet().load(out) is None
            assert Packet().load(connection.reply(packet)) is None
        quote = bytes(whole[: data.draw(st.integers(20, len(whole)))])
        message = load(error(shape.version, real[0], local[0], quote))
        if icmp.embedded(message, inner) is None and inner.protocol == shape.number:
            for out in (
                connection.request_error(message, inner),
                connection.reply_error(message, inner),
            ):
                assert icmp.embedded(load(out), Packet()) is None
    connection.resets()


def translation(ends: AllEnds, protocol: int, way: ClientAddress, isn: int = 0) -> Translation:
    return translated(Fullnat(way), protocol, ends, isn, ClientAddressCounts())


def opened(
    ends: AllEnds,
    way: ClientAddress,
    client_isn: int,
    server_isn: int,
    isn: int,
    protocol: int = 6,
) -> Translation:
    """Return a translation that has seen the SYN and the SYN-ACK."""
    connection = translation(ends, protocol, way, isn)
    if protocol != 6:
        return connection
    client, virtual, local, real = ends
    syn = TCP(flags="S", seq=client_isn)
    connection.request(load(write(client, virtual, syn)), MTU)
    synack = TCP(flags="SA", seq=server_isn, ack=isn + 1 & MASK)
    connection.reply(load(write(real, local, synack)))
    return connection


def renumbered(shape: Shape, name: str, by: int) -> Shape:
    """Return the shape with one of its numbers moved."""
    number = shape.transport[name] + by & MASK
    return replace(shape, transport=shape.transport | {name: number})
