"""What leaves the director as the sender has made it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from forwarders import Dr, Nat, Tun
from lvsd.core.verdict import Verdict
from tests.unit.core.world import World, raw

VERSIONS = pytest.mark.parametrize("version", [4, 6])


@VERSIONS
@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Tun()], ids=lambda each: each.name)
def test_a_packet_that_is_too_big_is_quoted_as_it_was_sent(
    version: int, forwarder: Nat | Dr | Tun
) -> None:
    world = World(version)
    service = world.serve(forwarder=forwarder)
    service.servers[0].mtu = 1400
    request = replace(world.from_client(), payload=bytes(1400))
    assert world.handle(request) is Verdict.DROP
    (answer,) = world.balancer.outbox.answers
    quote = answer.message[8:]
    assert quote == raw(request)[: len(quote)]


@VERSIONS
def test_a_datagram_without_a_checksum_stays_without(version: int) -> None:
    world = World(version)
    world.serve("udp")
    ends = {"src": world.client(), "dst": world.vip()}
    datagram = UDP(sport=40000, dport=80, chksum=0) / Raw(b"x")
    header = IP(**ends, proto=17) if version == 4 else IPv6(**ends, nh=17)
    outcome = world.handle(bytes(header / datagram))
    assert isinstance(outcome, bytes)
    assert (IP if version == 4 else IPv6)(outcome)[UDP].chksum == 0


@pytest.mark.parametrize(
    "option",
    [
        IPOption_RR(length=7, pointer=4, routers=["10.0.0.254"]),
        IPOption_Timestamp(length=8, pointer=5, timestamp=0),
        IPOption_LSRR(length=7, pointer=4, routers=["203.0.113.1"]),
    ],
    ids=["record route", "timestamp", "loose source route"],
)
@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Tun()], ids=lambda each: each.name)
def test_ip_options_are_neither_filled_in_nor_followed(
    option: Packet, forwarder: Nat | Dr | Tun
) -> None:
    world = World()
    world.serve(forwarder=forwarder)
    syn = TCP(sport=40000, dport=80, flags="S")
    packet = bytes(IP(src=world.client(), dst=world.vip(), options=[option]) / syn)
    outcome = world.handle(packet)
    data = outcome if isinstance(outcome, bytes) else world.sent()[0].data
    inside = data[20:] if forwarder.name == "tun" else data
    header_bytes = (packet[0] & 0x0F) * 4
    assert inside[0] == packet[0]
    assert inside[20:header_bytes] == packet[20:header_bytes]
