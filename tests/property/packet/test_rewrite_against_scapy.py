"""What the rewriter makes of a packet is what scapy writes for the new ends, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarders.plan import SetDestination, SetSource
from lvsd.packet.rewrite import Change, compile_steps, edit
from lvsd.packet.view import ICMPV6, Endpoint, Packet, key
from tests.property.examples import examples
from tests.property.packet.packets import Shape, addresses, echo, endpoints, shapes

EXAMPLES = examples(250)


@st.composite
def moves(
    draw: st.DrawFn, shape: st.SearchStrategy[Shape]
) -> tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint]:
    """Return a packet's shape, its old source and destination, its new ones."""
    drawn = draw(shape)
    end = endpoints(drawn.version)
    return drawn, draw(end), draw(end), draw(end), draw(end)


@EXAMPLES
@given(moves(shapes()), st.binary(max_size=20))
def test_a_request_gets_its_new_destination(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint], padding: bytes
) -> None:
    shape, client, virtual, _, real = move
    rewrite = compile_steps((SetDestination(*real),), shape.number, destination=virtual)
    packet = load(shape.write(client, virtual) + padding)
    assert rewrite(packet) == shape.write(client, real)


@EXAMPLES
@given(moves(shapes()))
def test_a_reply_gets_its_new_source(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint],
) -> None:
    shape, real, client, virtual, _ = move
    rewrite = compile_steps((SetSource(*virtual),), shape.number, source=real)
    assert rewrite(load(shape.write(real, client))) == shape.write(virtual, client)


@EXAMPLES
@given(moves(shapes()), st.integers(1, 255))
def test_both_ends_and_the_ttl_change_at_once(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint], ttl: int
) -> None:
    shape, old_source, old_destination, source, destination = move
    rewrite = compile_steps(
        (SetSource(*source), SetDestination(*destination)),
        shape.number,
        source=old_source,
        destination=old_destination,
        decrement_ttl=True,
    )
    packet = load(shape.write(old_source, old_destination, ttl))
    assert rewrite(packet) == shape.write(source, destination, ttl - 1)


@EXAMPLES
@given(moves(shapes()), st.integers(1, 255))
def test_a_port_that_is_not_named_stays(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint], ttl: int
) -> None:
    shape, (cip, cport), (vip, vport), _, (rip, _) = move
    request = compile_steps((SetDestination(rip, None),), shape.number, destination=(vip, None))
    reply = compile_steps((SetSource(vip, None),), shape.number, source=(rip, None))
    packet = load(shape.write((cip, cport), (vip, vport), ttl))
    assert request(packet) == shape.write((cip, cport), (rip, vport), ttl)
    packet = load(shape.write((rip, vport), (cip, cport), ttl))
    assert reply(packet) == shape.write((vip, vport), (cip, cport), ttl)


@EXAMPLES
@given(moves(shapes()))
def test_one_end_may_keep_its_port_while_the_other_changes(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint],
) -> None:
    shape, old_source, old_destination, source, (address, _) = move
    rewrite = compile_steps(
        (SetSource(*source), SetDestination(address, None)),
        shape.number,
        source=old_source,
        destination=old_destination,
    )
    packet = load(shape.write(old_source, old_destination))
    assert rewrite(packet) == shape.write(source, (address, old_destination[1]))


@EXAMPLES
@given(moves(shapes(protocols=("tcp", "udp"), plain=True)))
def test_the_plain_way_and_the_general_one_agree(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint],
) -> None:
    shape, client, virtual, _, real = move
    packet = load(shape.write(client, virtual))
    rewrite = compile_steps((SetDestination(*real),), shape.number, destination=virtual)
    assert rewrite(packet) == edit(packet, Change.between(shape.number, None, (virtual, real)))


@examples(60)
@given(moves(shapes(protocols=("tcp", "udp"), max_payload=400)), st.integers(10, 20))
def test_the_fragments_of_a_rewritten_datagram_are_its_fragments_rewritten(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint], eights: int
) -> None:
    shape, client, virtual, _, real = move
    shape.extensions = []
    rewrite = compile_steps((SetDestination(*real),), shape.number, destination=virtual)
    before = shape.fragments(client, virtual, eights * 8)
    after = [rewrite(load(part)) for part in before]
    assert after == shape.fragments(client, real, eights * 8)


@examples(60)
@given(st.sampled_from((4, 6)), st.data(), st.binary(max_size=60))
def test_a_ping_gets_its_new_destination_and_icmpv6_its_checksum(
    version: int, data: st.DataObject, payload: bytes
) -> None:
    client, virtual, real = (data.draw(addresses(version)) for _ in range(3))
    packet = load(echo(version, client, virtual, payload))
    rewrite = compile_steps((SetDestination(real, 0),), packet.protocol, destination=(virtual, 0))
    assert packet.protocol == (1 if version == 4 else ICMPV6)
    assert rewrite(packet) == echo(version, client, real, payload)


@EXAMPLES
@given(moves(shapes()), st.binary(max_size=20))
def test_a_view_says_what_scapy_wrote(
    move: tuple[Shape, Endpoint, Endpoint, Endpoint, Endpoint], padding: bytes
) -> None:
    shape, source, destination, _, _ = move
    data = shape.write(source, destination)
    packet = load(data + padding)
    assert packet.version == shape.version
    assert packet.protocol == shape.number
    assert (packet.source, packet.source_port) == source
    assert (packet.destination, packet.destination_port) == destination
    assert packet.key == key(shape.number, *source, *destination)
    assert packet.ttl == shape.ip["ttl" if shape.version == 4 else "hlim"]
    assert packet.flags == shape.transport.get("flags", 0)
    assert packet.end == len(data)
    assert packet.dont_fragment == (shape.version == 6 or shape.ip["flags"] == "DF")
    assert packet.chunk == (shape.chunks[0].type if shape.chunks else -1)
    assert not packet.fragment


def load(data: bytes) -> Packet:
    packet = Packet()
    assert packet.load(data) is None
    return packet
