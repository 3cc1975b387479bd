"""The outer headers are those that the kernel's IPVS wrote, byte for byte.

Recorded from Linux 6.1.176: for each row a UDP service whose only real server, added by
``ipvsadm -a -i --tun-type``, is 192.0.2.101 or 2001:db8:1::101 plus the row's number; one datagram
to each; captured behind the director, whose checksum offload is off.
"""

from __future__ import annotations

from typing import Final, cast

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from forwarders.plan import Encapsulate, TunnelKind
from lvsd.packet.address import pack
from lvsd.packet.checksum import apply_udp, delta
from lvsd.packet.tunnel import LEAST_SOURCE_PORT, SOURCE_PORTS, compile_tunnel
from lvsd.packet.view import Packet

RECORDED: Final = """
ipip         4 4 45ba00492fc80000fe0407c8 -
ipip         6 4 6ba00000003504fe         -
ipip         4 6 45ba005d08620000fe292ef3 -
ipip         6 6 6ba00000004929fe         -
gue          4 4 45ba005561ce0000fe11d5a4 c45d17c00041000000040000
gue          6 4 6ba00000004111fe         eda717c00041000000040000
gue          4 6 45ba0069df8f0000fe1157cd ddbd17c00055000000290000
gue          6 6 6ba00000005511fe         ddbd17c00055000000290000
gue+checksum 4 4 45ba005531780000fe1105f7 e64517c00041696b00040000
gue+checksum 6 4 6ba00000004111fe         e7e017c000418fba00040000
gue+checksum 4 6 45ba0069be420000fe117916 ddbd17c00055e44800290000
gue+checksum 6 6 6ba00000005511fe         ddbd17c000550c3300290000
gre          4 4 45ba004d84c50000fe2fb28f 00000800
gre          6 4 6ba0000000392ffe         00000800
gre          4 6 45ba00618dc60000fe2fa978 000086dd
gre          6 6 6ba00000004d2ffe         000086dd
gre+checksum 4 4 45ba0051baf20000fe2f7c5a 8000080064770000
gre+checksum 6 4 6ba00000003d2ffe         8000080064770000
gre+checksum 4 6 45ba006511a00000fe2f2597 800086dd583e0000
gre+checksum 6 6 6ba0000000512ffe         800086dd583e0000
"""
"""Kind, outer and inner family, the outer header up to its addresses, and what is behind them."""

GUE_PORT: Final = 6080
NUMBER_AT: Final = slice(4, 6)


@pytest.mark.parametrize(
    ("row", "recorded"),
    list(enumerate(RECORDED.strip().splitlines())),
    ids=lambda value: value[:16] if isinstance(value, str) else "",
)
def test_the_outer_header_is_the_kernels(row: int, recorded: str) -> None:
    kind, outside, inside, before, behind = recorded.split()
    name, _, checked = kind.partition("+")
    ends = ("192.0.2.1", f"192.0.2.{101 + row}")
    if outside == "6":
        ends = ("2001:db8:1::1", f"2001:db8:1::{101 + row}")
    source, destination = map(pack, ends)
    port = GUE_PORT if name == "gue" else 0
    step = Encapsulate(source, destination, cast("TunnelKind", name), port, bool(checked))
    tunnel = compile_tunnel(step)
    expected = bytes.fromhex(before) + source + destination + bytes.fromhex(behind.strip("-"))
    number = int.from_bytes(expected[NUMBER_AT], "big") if outside == "4" else 0
    packet = Packet()
    assert packet.load(datagram(inside, 1001 + row)) is None
    outer = tunnel.wrap(packet, number)[: tunnel.overhead]
    if name == "gue":
        at = len(before) // 2 + 2 * len(source)
        assert portless(outer, at) == portless(expected, at)
    else:
        assert outer == expected


def datagram(version: str, port: int) -> bytes:
    """Return what the client sent: congestion met, an odd length, no DF."""
    body = UDP(sport=40000, dport=port) / Raw(b"\xa5" * 25)
    if version == "4":
        return bytes(IP(src="198.51.100.7", dst="192.0.2.10", ttl=255, tos=0xBB, id=0x79) / body)
    ends = {"src": "2001:db8::7", "dst": "2001:db8:f::10"}
    return bytes(IPv6(**ends, hlim=255, tc=0xBB, fl=0x12345) / body)


def portless(header: bytes, at: int) -> bytes:
    """Return a header with UDP's source port, which is a hash with a secret, set to 0."""
    source_port, check = header[at : at + 2], int.from_bytes(header[at + 6 : at + 8], "big")
    assert 0 <= int.from_bytes(source_port, "big") - LEAST_SOURCE_PORT < SOURCE_PORTS
    check = apply_udp(check, delta(source_port, bytes(2)))
    return (
        header[:at]
        + bytes(2)
        + header[at + 2 : at + 6]
        + check.to_bytes(2, "big")
        + header[at + 8 :]
    )
