"""Tunnels: each field of the outer packet, and what is found inside one again."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, Final

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from forwarders.plan import Encapsulate, TunnelKind
from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.tunnel import LEAST_SOURCE_PORT, SOURCE_PORTS, compile_tunnel, unwrap
from lvsd.packet.view import Packet
from tests.unit.packet.samples import CIP, CPORT, VIP, VPORT

DIP: Final = {4: "192.0.2.1", 6: "2001:db8:1::1"}
RIP: Final = {4: "10.0.0.11", 6: "fd00::11"}
GUE_PORT: Final = 6080
NUMBER: Final = 0x4711

KINDS: Final[dict[str, tuple[TunnelKind, int, bool]]] = {
    "ipip": ("ipip", 0, False),
    "gue": ("gue", GUE_PORT, False),
    "gue with checksum": ("gue", GUE_PORT, True),
    "gre": ("gre", 0, False),
    "gre with checksum": ("gre", 0, True),
}
OVERHEAD: Final = {
    ("ipip", 4): 20,
    ("ipip", 6): 40,
    ("gue", 4): 32,
    ("gue", 6): 52,
    ("gue with checksum", 4): 32,
    ("gue with checksum", 6): 52,
    ("gre", 4): 24,
    ("gre", 6): 44,
    ("gre with checksum", 4): 28,
    ("gre with checksum", 6): 48,
}
MIXES: Final = list(product(KINDS, (4, 6), (4, 6)))

each_mix = pytest.mark.parametrize(("kind", "outside", "inside"), MIXES)


def step(kind: str, outside: int) -> Encapsulate:
    return Encapsulate(pack(DIP[outside]), pack(RIP[outside]), *KINDS[kind])


def inner(version: int, *, hops: int = 64, tos: int = 0, df: bool = True, size: int = 24) -> bytes:
    """Return a TCP packet from client to VIP by scapy."""
    segment = TCP(sport=CPORT, dport=VPORT, flags="A") / Raw(b"\xa5" * size)
    if version == 4:
        ip = IP(src=CIP[4], dst=VIP[4], ttl=hops, tos=tos, flags="DF" if df else "")
        return bytes(ip / segment)
    return bytes(IPv6(src=CIP[6], dst=VIP[6], hlim=hops, tc=tos, fl=0x12345) / segment)


def load(data: bytes) -> Packet:
    packet = Packet()
    assert packet.load(data) is None
    return packet


def wrapped(kind: str, outside: int, data: bytes, number: int = NUMBER) -> bytes:
    return compile_tunnel(step(kind, outside)).wrap(load(data), number)


def parsed(data: bytes) -> Any:
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


def source_port(outer: bytes, outside: int) -> int:
    at = 20 if outside == 4 else 40
    return int.from_bytes(outer[at : at + 2], "big")


def by_scapy(
    kind: str, outside: int, inside: int, payload: bytes, port: int, **fields: int
) -> bytes:
    """Return scapy's outer packet around the bytes of an inner one."""
    name, gue_port, with_checksum = KINDS[kind]
    number = {4: 4, 6: 41}[inside]
    between: Any = None
    if name == "gue":
        between = UDP(sport=port, dport=gue_port) / Raw(bytes((0, number, 0, 0)) + payload)
        if not with_checksum:
            between.chksum = 0
        number = 17
    elif name == "gre":
        ethertype = {4: 0x0800, 6: 0x86DD}[inside]
        between = GRE(proto=ethertype, chksum_present=int(with_checksum)) / Raw(payload)
        number = 47
    body = Raw(payload) if between is None else between
    if outside == 4:
        header = IP(
            src=DIP[4],
            dst=RIP[4],
            proto=number,
            ttl=fields["hops"],
            tos=fields["tos"],
            id=fields["number"],
            flags="DF" if fields["df"] else "",
        )
        return bytes(header / body)
    header = IPv6(src=DIP[6], dst=RIP[6], nh=number, hlim=fields["hops"], tc=fields["tos"])
    return bytes(header / body)


@each_mix
@pytest.mark.parametrize("df", [True, False])
def test_the_outer_packet_is_what_scapy_writes(
    kind: str, outside: int, inside: int, *, df: bool
) -> None:
    outer = wrapped(kind, outside, inner(inside, hops=64, tos=0x2A, df=df))
    expected = by_scapy(
        kind,
        outside,
        inside,
        inner(inside, hops=63, tos=0x2A, df=df),
        source_port(outer, outside),
        hops=63,
        tos=0x2A,
        df=df and inside == 4,
        number=0 if df and inside == 4 else NUMBER,
    )
    assert outer == expected


@each_mix
def test_the_overhead_is_what_a_packet_grows_by(kind: str, outside: int, inside: int) -> None:
    data = inner(inside)
    tunnel = compile_tunnel(step(kind, outside))
    assert tunnel.overhead == OVERHEAD[kind, outside]
    assert len(tunnel.wrap(load(data), NUMBER)) == len(data) + tunnel.overhead


@each_mix
def test_what_was_wrapped_is_unwrapped_with_one_ttl_less(
    kind: str, outside: int, inside: int
) -> None:
    outer = wrapped(kind, outside, inner(inside, hops=9))
    assert unwrap(outer, {GUE_PORT}) == inner(inside, hops=8)


@each_mix
def test_padding_behind_a_packet_is_left_out(kind: str, outside: int, inside: int) -> None:
    data = inner(inside)
    padded = wrapped(kind, outside, data + b"\xa5" * 6)
    assert padded == wrapped(kind, outside, data)
    assert unwrap(padded + b"\xa5" * 6, {GUE_PORT}) == unwrap(padded, {GUE_PORT})


@pytest.mark.parametrize(("outside", "inside"), list(product((4, 6), repeat=2)))
@pytest.mark.parametrize(
    ("tos", "outer_tos"),
    [(0xB8, 0xB8), (0xB9, 0xB9), (0xBA, 0xBA), (0xBB, 0xBA)],
    ids=["not ECT", "ECT(1)", "ECT(0)", "CE becomes ECT(0)"],
)
def test_the_outer_packet_has_the_inner_class_and_ecn(
    outside: int, inside: int, tos: int, outer_tos: int
) -> None:
    outer = parsed(wrapped("ipip", outside, inner(inside, tos=tos)))
    assert (outer.tos if outside == 4 else outer.tc) == outer_tos
    within = outer.payload
    assert (within.tos if inside == 4 else within.tc) == tos


@pytest.mark.parametrize(("outside", "inside"), list(product((4, 6), repeat=2)))
@pytest.mark.parametrize(("hops", "expected"), [(255, 254), (1, 0), (0, 0)])
def test_both_packets_have_one_ttl_less_but_never_below_zero(
    outside: int, inside: int, hops: int, expected: int
) -> None:
    outer = wrapped("ipip", outside, inner(inside, hops=hops))
    assert load(outer).ttl == expected
    assert unwrap(outer) == inner(inside, hops=expected)


def test_a_wrong_header_checksum_stays_wrong() -> None:
    data = bytearray(inner(4))
    data[10] ^= 0xFF
    within = unwrap(wrapped("ipip", 4, bytes(data)))
    assert within is not None
    assert checksum(within[:20]) != 0


def test_the_identification_counts_16_bits() -> None:
    outer = wrapped("ipip", 4, inner(4, df=False), number=0xABCD_0042)
    assert outer[4:6] == b"\x00\x42"


def test_a_flow_keeps_its_source_port_and_flows_are_spread() -> None:
    tunnel = compile_tunnel(step("gue", 4))
    seen = set()
    for port in range(1000, 1200):
        data = bytearray(inner(4))
        data[20:22] = port.to_bytes(2, "big")
        ports = {source_port(tunnel.wrap(load(bytes(data)), number), 4) for number in range(2)}
        assert len(ports) == 1
        seen |= ports
    assert len(seen) > 150
    assert LEAST_SOURCE_PORT <= min(seen) <= max(seen) < LEAST_SOURCE_PORT + SOURCE_PORTS


@pytest.mark.parametrize("outside", [4, 6])
def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones(outside: int) -> None:
    """The last two bytes of the payload are set so that everything adds up to all ones."""
    tunnel = compile_tunnel(step("gue with checksum", outside))
    data = bytearray(inner(4, df=False))
    data[-2:] = bytes(2)
    at = 26 if outside == 4 else 46
    found = tunnel.wrap(load(bytes(data)), NUMBER)[at : at + 2]
    data[-2:] = found
    assert tunnel.wrap(load(bytes(data)), NUMBER)[at : at + 2] == b"\xff\xff"


@pytest.mark.parametrize("outside", [4, 6])
def test_the_longest_packet_is_taken_and_a_longer_one_is_not(outside: int) -> None:
    for kind in KINDS:
        tunnel = compile_tunnel(step(kind, outside))
        longest = load(inner(6, size=tunnel.longest - 60))
        assert longest.end == tunnel.longest
        outer = load(tunnel.wrap(longest, NUMBER))
        assert outer.end == tunnel.longest + tunnel.overhead
        assert outer.end == (0xFFFF if outside == 4 else 0xFFFF + 40)
        assert tunnel.wrap(load(inner(6, size=tunnel.longest - 59)), NUMBER) == b""


def test_ends_of_two_families_are_refused() -> None:
    mixed = replace(step("ipip", 4), destination=pack(RIP[6]))
    with pytest.raises(ValueError, match="one family"):
        compile_tunnel(mixed)


def test_gue_without_a_port_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a UDP port"):
        compile_tunnel(replace(step("gue", 4), port=0))


@each_mix
def test_a_quote_has_what_was_quoted_of_the_inner_packet(
    kind: str, outside: int, inside: int
) -> None:
    outer = wrapped(kind, outside, inner(inside))
    overhead = OVERHEAD[kind, outside]
    header = 20 if inside == 4 else 40
    within = unwrap(outer, {GUE_PORT})
    assert within is not None
    for length in range(len(outer)):
        rest = length - overhead
        assert unwrap(outer[:length], {GUE_PORT}) == (within[:rest] if rest >= header else None)


def test_gue_to_another_port_is_an_ordinary_datagram() -> None:
    outer = wrapped("gue", 4, inner(4))
    assert unwrap(outer, {GUE_PORT + 1}) is None
    assert unwrap(outer) is None


@pytest.mark.parametrize(
    ("kind", "at", "value"),
    [
        ("ipip", 20, 0x60),
        ("gue", 28, 0x20),
        ("gue", 28, 0x40),
        ("gue", 29, 41),
        ("gue", 29, 50),
        ("gue", 31, 1),
        ("gre", 20, 0x20),
        ("gre", 20, 0x10),
        ("gre", 21, 1),
        ("gre", 22, 0x86),
    ],
    ids=[
        "IPv6 where IPv4 was said",
        "GUE control message",
        "GUE variant 1",
        "GUE with IPv4 called IPv6",
        "GUE with ESP inside",
        "GUE with private flags",
        "GRE with a key",
        "GRE with sequence numbers",
        "GRE of version 1",
        "GRE of another ethertype",
    ],
)
def test_what_is_not_understood_is_not_unwrapped(kind: str, at: int, value: int) -> None:
    outer = bytearray(wrapped(kind, 4, inner(4)))
    assert unwrap(bytes(outer), {GUE_PORT}) is not None
    outer[at] = value
    assert unwrap(bytes(outer), {GUE_PORT}) is None


def test_gue_fields_without_flags_are_stepped_over() -> None:
    outer = bytearray(wrapped("gue", 4, inner(4)))
    outer[28] = 2
    outer[32:32] = bytes(8)
    outer[2:4] = len(outer).to_bytes(2, "big")
    assert unwrap(bytes(outer), {GUE_PORT}) == inner(4, hops=63)


def test_a_later_fragment_has_nothing_inside_and_the_first_what_it_holds() -> None:
    outer = bytearray(wrapped("ipip", 4, inner(4, df=False)))
    outer[6:8] = b"\x20\x00"
    assert unwrap(bytes(outer)) == inner(4, hops=63, df=False)
    outer[6:8] = b"\x00\x04"
    assert unwrap(bytes(outer)) is None


def test_a_gue_checksum_covers_the_pseudo_header() -> None:
    outer = wrapped("gue with checksum", 6, inner(6))
    carry = pseudo_header(pack(DIP[6]), pack(RIP[6]), 17, len(outer) - 40)
    assert checksum(outer[40:], carry) == 0
