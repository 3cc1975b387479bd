"""Everything that is done to a packet from the wire, with what must hold for any bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders.plan import SetDestination, SetSource
from lvsd.explain.dissect import dissect_packet
from lvsd.explain.output.lines import lines
from lvsd.packet import icmp
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.rewrite import Change, compile_steps, edit
from lvsd.packet.view import ICMP, ICMPV6, SCTP, Endpoint, Packet, key, split_key

if TYPE_CHECKING:
    from forwarders.plan import Step

NEW: Final[dict[int, tuple[Endpoint, Endpoint]]] = {
    4: ((bytes((10, 0, 0, 11)), 8080), (bytes((192, 0, 2, 10)), 80)),
    6: ((b"\xfd" + bytes(14) + b"\x0b", 8080), (b"\x20\x01\x0d\xb8" + bytes(12), 80)),
}
"""New ends for a packet: a source and a destination."""


def exercise(data: bytes) -> None:
    """Do all of it. Raises AssertionError where something does not hold; nothing else raises."""
    show(data)
    packet = Packet()
    look(packet)
    quoted = Packet()
    quoted_fault = quoted.load(data, quoted=True)
    look(quoted)
    if quoted_fault is None:
        assert 20 <= quoted.l4 <= quoted.end <= len(data)
    if packet.load(data) is None:
        assert quoted_fault is None
        assert quoted.key == packet.key
        look(packet)
        assert 20 <= packet.l4 <= packet.end <= len(data)
        source, destination = split_key(packet.key)
        assert packet.key == key(packet.protocol, *source, *destination)
        rewrite(packet)
        answer(packet)
        pass_on(packet)


def show(data: bytes) -> None:
    """Take it apart, and print it."""
    frame = dissect_packet(data)
    assert len(list(lines(frame))) >= len(frame.layers)


def look(packet: Packet) -> None:
    """Read every property."""
    assert len(packet.source) == len(packet.destination)
    assert 0 <= packet.source_port <= 0xFFFF
    assert 0 <= packet.destination_port <= 0xFFFF
    assert -1 <= packet.icmp_type <= 0xFF
    assert -1 <= packet.icmp_code <= 0xFF
    assert -1 <= packet.chunk <= 0xFF
    assert packet.dont_fragment in {True, False}


def rewrite(packet: Packet) -> None:
    """Give a packet new ends, in every way there is."""
    old_source = packet.source, packet.source_port
    old_destination = packet.destination, packet.destination_port
    source, destination = NEW[packet.version]
    choices: tuple[tuple[Step, ...], ...] = (
        (SetSource(*source),),
        (SetDestination(*destination),),
        (SetSource(*source), SetDestination(*destination)),
    )
    for steps in choices:
        for decrement_ttl in (False, True):
            rewriter = compile_steps(
                steps,
                packet.protocol,
                source=old_source,
                destination=old_destination,
                decrement_ttl=decrement_ttl,
            )
            before = packet.data
            after = rewriter(packet)
            assert packet.data is before
            assert len(after) == packet.end
            again = Packet()
            assert again.load(after) is None
            assert again.ttl == max(0, packet.ttl - decrement_ttl)
            assert again.source == (source[0] if isinstance(steps[0], SetSource) else old_source[0])
            assert header_is_right(after) or not header_is_right(before)
    change = Change.between(packet.protocol, (old_source, source), (old_destination, destination))
    if packet.protocol != SCTP:
        plain = compile_steps(
            choices[2], packet.protocol, source=old_source, destination=old_destination
        )
        assert plain(packet) == edit(packet, change)


def answer(packet: Packet) -> None:
    """Build each error about a packet, send it on its way, and pass it on."""
    assert icmp.may_answer(packet) in {True, False}
    for message in (
        icmp.time_exceeded(packet),
        icmp.port_unreachable(packet),
        icmp.too_big(packet, 1400),
    ):
        error = Packet()
        assert error.load(wrap(message, packet)) is None
        show(error.data)
        if packet.l4 + 8 <= min(packet.end, icmp.MAX_QUOTE[packet.version]):
            inner = Packet()
            assert icmp.embedded(error, inner) is None
            assert inner.key == packet.key
            pass_on(error)


def pass_on(packet: Packet) -> None:
    """If a packet is an ICMP error, rewrite it; the new one must be whole again."""
    inner = Packet()
    if icmp.embedded(packet, inner) is not None:
        return
    source, destination = NEW[packet.version]
    inside = icmp.rewrite_error(
        packet, inner, outer_source=source[0], inner_destination=destination
    )
    outside = icmp.rewrite_error(
        packet, inner, outer_destination=destination[0], inner_source=source
    )
    for after in (inside, outside):
        assert len(after) == packet.end
        again = Packet()
        assert again.load(after) is None
        assert icmp.embedded(again, Packet()) is None


def wrap(message: bytes, packet: Packet) -> bytes:
    """Put an IP header before an ICMP message, back to a packet's source."""
    if packet.version == 6:
        carry = pseudo_header(packet.destination, packet.source, ICMPV6, len(message))
        message = message[:2] + checksum(message, carry).to_bytes(2, "big") + message[4:]
        header = b"\x60\x00\x00\x00" + len(message).to_bytes(2, "big") + bytes((ICMPV6, 64))
        return header + packet.destination + packet.source + message
    header = b"\x45\x00" + (20 + len(message)).to_bytes(2, "big") + bytes((0, 0, 0, 0, 64, ICMP))
    ends = packet.destination + packet.source
    return header + checksum(header + ends).to_bytes(2, "big") + ends + message


def header_is_right(data: bytes) -> bool:
    """Tell whether an IPv4 header's checksum is right; IPv6 has none."""
    return data[0] >> 4 == 6 or checksum(data[: (data[0] & 0x0F) * 4]) == 0
