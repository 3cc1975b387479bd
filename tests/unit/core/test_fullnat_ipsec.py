"""AH and ESP between a client and a FULLNAT service."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Raw

from forwarders import Fullnat
from lvsd.core.local_pool import LocalPool
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import World

PACKETS = {
    "AH": AH(spi=7, seq=1, icv=bytes(12), payloadlen=4, nh=17) / UDP(sport=1, dport=2) / Raw(b"x"),
    "ESP": ESP(spi=7, seq=1) / Raw(bytes(40)),
}
LIP = {4: "10.0.0.200", 6: "fd00::c8"}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", PACKETS)
def test_ipsec_is_the_hosts_though_its_key_exchange_goes_through_fullnat(
    version: int, protocol: str
) -> None:
    world = World(version)
    world.balancer.network.local_addresses = frozenset({pack(LIP[version]), pack(world.vip())})
    pool = LocalPool((pack(LIP[version]),))
    world.serve("udp", 500, forwarder=Fullnat("none"), local=pool)
    world.leave(world.from_client(protocol="udp", cport=500, vport=500))
    header = IP if version == 4 else IPv6
    packet = header(src=world.client(), dst=world.vip()) / PACKETS[protocol]
    assert world.handle(bytes(packet)) is Verdict.PASS
