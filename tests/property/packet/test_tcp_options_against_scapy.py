"""What scapy writes as TCP options is what the walk finds, and a clamped SYN is scapy's own."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lvsd.packet.tcp_options import END, MSS, clamp_mss, find, options
from lvsd.packet.view import Endpoint, Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, endpoints, shapes, u16

EXAMPLES = examples(200)
KINDS = {"NOP": 1, "MSS": 2, "WScale": 3, "SAckOK": 4, "Timestamp": 8}


def two_ends(shape: Shape, data: st.DataObject) -> tuple[Endpoint, Endpoint]:
    end = endpoints(shape.version)
    return data.draw(end), data.draw(end)


def load(shape: Shape, data: st.DataObject) -> Packet:
    packet = Packet()
    assert packet.load(shape.write(*two_ends(shape, data))) is None
    return packet


@EXAMPLES
@given(shapes(protocols=("tcp",)), st.data())
def test_the_walk_finds_the_options_that_were_written(shape: Shape, data: st.DataObject) -> None:
    packet = load(shape, data)
    written = [KINDS[name] for name, _ in shape.transport["options"]]
    assert [kind for kind, _, _ in options(packet)] == written


@EXAMPLES
@given(shapes(protocols=("tcp",)), u16, st.data())
def test_a_clamped_syn_is_what_scapy_writes_for_the_lower_mss(
    shape: Shape, mss: int, data: st.DataObject
) -> None:
    shape.transport["flags"] |= 2
    ends = two_ends(shape, data)
    packet = Packet()
    assert packet.load(shape.write(*ends)) is None
    shape.transport["options"] = [
        (name, min(value, mss) if name == "MSS" else value)
        for name, value in shape.transport["options"]
    ]
    assert clamp_mss(packet.data, packet, mss) == shape.write(*ends)


@EXAMPLES
@given(st.sampled_from((4, 6)), st.binary(max_size=40), u16, st.data())
def test_no_options_raise_anything(
    version: int, garbage: bytes, mss: int, data: st.DataObject
) -> None:
    """The options lie within the header, one after the other, and clamping keeps the length."""
    padded = garbage.ljust(len(garbage) + 3 & ~3, b"\xa5")
    ip: Any = IP() if version == 4 else IPv6()
    written = bytearray(bytes(ip / TCP(flags="S", dataofs=5 + len(padded) // 4) / padded))
    packet = Packet()
    assert packet.load(bytes(written)) is None
    walk(packet, packet.l4 + 20 + len(padded))
    out = clamp_mss(packet.data, packet, mss)
    assert len(out) == len(packet.data)
    cut = data.draw(st.integers(packet.l4 + 8, len(written)))
    assert packet.load(bytes(written[:cut]), quoted=True) is None
    walk(packet, cut)
    assert len(clamp_mss(packet.data, packet, mss)) == cut


def walk(packet: Packet, end: int) -> None:
    at = packet.l4 + 20
    for kind, offset, length in options(packet):
        assert kind != END
        assert offset == at
        at += length
        assert at <= end
    first = find(packet, MSS)
    assert first is None or packet.data[first] == MSS
