"""What goes into a tunnel comes out of it, with headers as scapy writes them; no bytes raise."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from forwarders.plan import Encapsulate, TunnelKind
from lvsd.packet.tunnel import compile_tunnel, unwrap
from lvsd.packet.view import Packet
from tests.property.examples import examples
from tests.property.packet.packets import Shape, addresses, endpoints, ports, shapes, u16

EXAMPLES = examples(200)
KINDS: Final[tuple[TunnelKind, ...]] = ("ipip", "gue", "gre")


@st.composite
def steps(draw: st.DrawFn) -> Encapsulate:
    """Return any tunnel."""
    ends = addresses(draw(st.sampled_from((4, 6))))
    kind = draw(st.sampled_from(KINDS))
    port = draw(ports) if kind == "gue" else 0
    return Encapsulate(draw(ends), draw(ends), kind, port, draw(st.booleans()))


@EXAMPLES
@given(steps(), shapes(), u16, st.integers(1, 255), st.data())
def test_a_packet_comes_out_as_scapy_writes_it_with_one_ttl_less(
    step: Encapsulate, shape: Shape, number: int, ttl: int, data: st.DataObject
) -> None:
    end = endpoints(shape.version)
    source, destination = data.draw(end), data.draw(end)
    outer = compile_tunnel(step).wrap(load(shape.write(source, destination, ttl)), number)
    assert unwrap(outer, {step.port}) == shape.write(source, destination, ttl - 1)


@EXAMPLES
@given(steps(), shapes(), u16, st.data())
def test_the_outer_headers_are_as_scapy_writes_them(
    step: Encapsulate, shape: Shape, number: int, data: st.DataObject
) -> None:
    end = endpoints(shape.version)
    tunnel = compile_tunnel(step)
    outer = tunnel.wrap(load(shape.write(data.draw(end), data.draw(end))), number)
    assert outer == written(step, shape, outer, tunnel.overhead, number)


@EXAMPLES
@given(st.sampled_from((0x45, 0x46, 0x60)), st.binary(min_size=19, max_size=200), st.data())
def test_random_bytes_are_unwrapped_to_a_packet_or_nothing(
    first: int, rest: bytes, data: st.DataObject
) -> None:
    raw = bytearray(bytes((first,)) + rest)
    raw[9 if first < 0x60 else 6] = data.draw(st.sampled_from((4, 17, 41, 47, 44, 60)))
    looks_like_a_packet(unwrap(bytes(raw), range(0x10000)))


@EXAMPLES
@given(steps(), shapes(max_payload=20), st.data())
def test_tunnels_with_mutated_headers_raise_nothing(
    step: Encapsulate, shape: Shape, data: st.DataObject
) -> None:
    end = endpoints(shape.version)
    tunnel = compile_tunnel(step)
    outer = bytearray(tunnel.wrap(load(shape.write(data.draw(end), data.draw(end))), 1))
    for _ in range(data.draw(st.integers(1, 4))):
        outer[data.draw(st.integers(0, tunnel.overhead))] = data.draw(st.integers(0, 255))
    looks_like_a_packet(unwrap(bytes(outer[: data.draw(st.integers(0, len(outer)))]), {step.port}))


@EXAMPLES
@given(steps(), st.sampled_from((0x45, 0x46, 0x60)), st.binary(min_size=39, max_size=200), u16)
def test_any_packet_that_loads_is_wrapped(
    step: Encapsulate, first: int, rest: bytes, number: int
) -> None:
    raw = bytearray(bytes((first,)) + rest)
    length = len(raw) if first < 0x60 else len(raw) - 40
    at = 2 if first < 0x60 else 4
    raw[at : at + 2] = length.to_bytes(2, "big")
    packet = Packet()
    if packet.load(bytes(raw)) is None:
        tunnel = compile_tunnel(step)
        assert len(tunnel.wrap(packet, number)) == packet.end + tunnel.overhead


def load(data: bytes) -> Packet:
    packet = Packet()
    assert packet.load(data) is None
    return packet


def looks_like_a_packet(inner: bytes | None) -> None:
    """Fail unless this is nothing, or begins with a whole IP header."""
    assert inner is None or len(inner) >= {4: 20, 6: 40}[inner[0] >> 4]


def written(step: Encapsulate, shape: Shape, outer: bytes, overhead: int, number: int) -> bytes:
    """Return scapy's outer packet around the inner one of ours, with our GUE source port."""
    inner = outer[overhead:]
    inside = {4: 4, 6: 41}[shape.version]
    body: Any = Raw(inner)
    protocol = inside
    l4 = 20 if len(step.source) == 4 else 40
    if step.kind == "gue":
        protocol = 17
        source_port = int.from_bytes(outer[l4 : l4 + 2], "big")
        body = Raw(bytes((0, inside, 0, 0)) + inner)
        unchecked = {} if step.checksum else {"chksum": 0}
        body = UDP(sport=source_port, dport=step.port, **unchecked) / body
    elif step.kind == "gre":
        protocol = 47
        ethertype = 0x0800 if shape.version == 4 else 0x86DD
        body = GRE(proto=ethertype, chksum_present=int(step.checksum)) / body
    tos = shape.ip["tos" if shape.version == 4 else "tc"]
    fields = {
        "src": str(ip_address(step.source)),
        "dst": str(ip_address(step.destination)),
    }
    ttl = shape.ip["ttl" if shape.version == 4 else "hlim"] - 1
    tos = tos & ~3 | 2 if tos & 3 == 3 else tos
    if l4 == 40:
        return bytes(IPv6(**fields, nh=protocol, hlim=ttl, tc=tos) / body)
    df = shape.ip.get("flags") == "DF"
    flags = {"flags": "DF", "id": 0} if df else {"id": number}
    return bytes(IP(**fields, proto=protocol, ttl=ttl, tos=tos, **flags) / body)
