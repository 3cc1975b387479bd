"""Senders of bad packets get nowhere: they are counted, and the daemon goes on."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Raw

from lvsd.lab.wait import until
from tests.netns.traffic.site import both, of, running
from tests.netns.traffic.sockets import udp, udp_echoes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scapy.packet import Packet

    from lvsd.lab import Lab
    from tests.netns.traffic.site import Family, Site

WEB, ECHO, ASSOCIATION = 80, 7, 3868
PACKETS = 3000
SEED = 20260
ETHERTYPES = {"v4": 0x0800, "v6": 0x86DD}


@pytest.fixture(scope="module")
def site(web_lab: Lab) -> Iterator[Site]:
    """Have a service of every protocol."""
    with (
        udp_echoes(web_lab.servers, 7007),
        running(
            web_lab,
            both(web_lab, WEB, 8080),
            both(web_lab, ECHO, 7007, protocol="udp"),
            both(web_lab, ASSOCIATION, 9868, protocol="sctp"),
        ) as site,
    ):
        yield site


@contextlib.contextmanager
def wire(site: Site, family: Family) -> Iterator[Callable[[bytes], object]]:
    """Yield what sends IP packets as they are, however wrong, to the director."""
    client = site.lab.client
    director = of(site.lab.director.addresses, family)
    client.run(["ping", "-c", "1", "-W", "2", director])
    [neighbour] = json.loads(client.run(["ip", "-j", "neigh", "show", director]).stdout)
    mac = bytes.fromhex(neighbour["lladdr"].replace(":", ""))
    with client.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    with sock:
        address = "eth0", ETHERTYPES[family], 0, 0, mac
        yield lambda packet: sock.sendto(packet, address)


def good(site: Site, family: Family) -> list[Packet]:
    """Return packets of every kind that belong to the services."""
    source, vip = site.source(family), site.vip(family)
    ip: Packet = IP(src=source, dst=vip) if family == "v4" else IPv6(src=source, dst=vip)
    quoted = (IP if family == "v4" else IPv6)(src=vip, dst=source)
    quoted /= UDP(sport=ECHO, dport=9)
    packets = [
        ip / TCP(sport=1024, dport=WEB, flags="S", options=[("MSS", 1460), ("WScale", 7)]),
        ip / TCP(sport=1024, dport=WEB, flags="PA") / Raw(b"GET / HTTP/1.0\r\n\r\n"),
        ip / UDP(sport=1025, dport=ECHO) / Raw(b"hello"),
        ip / SCTP(sport=1026, dport=ASSOCIATION) / SCTPChunkInit(init_tag=1),
    ]
    if family == "v4":
        return [*packets, ip / ICMP(type=3, code=1) / quoted]
    return [
        *packets,
        ip / ICMPv6DestUnreach(code=1) / quoted,
        ip / IPv6ExtHdrDestOpt() / UDP(sport=1025, dport=ECHO) / Raw(b"hello"),
        ip / IPv6ExtHdrFragment(offset=0, m=1, id=7) / UDP(sport=1, dport=ECHO) / Raw(bytes(64)),
    ]


def spoilt(packet: bytes, header: int, chance: random.Random) -> bytes:
    """Return a packet with some bytes changed behind the IP header, or cut, or with more to it."""
    data = bytearray(packet)
    for _ in range(chance.randrange(6)):
        data[chance.randrange(header, len(data))] = chance.randrange(256)
    match chance.randrange(4):
        case 0:
            del data[chance.randrange(header, len(data)) :]
        case 1:
            data += chance.randbytes(chance.randrange(64))
    return bytes(data)


def relength(packet: bytes, family: Family) -> bytes:
    """Return a packet whose IP header is right again, so that the kernel lets it pass."""
    if family == "v6":
        return packet[:4] + (len(packet) - 40).to_bytes(2, "big") + packet[6:]
    again = IP(packet[:20])
    again.len = len(packet)
    again.chksum = None
    return bytes(again)[:20] + packet[20:]


def test_thousands_of_bad_packets_are_counted_and_end_nothing(site: Site, family: Family) -> None:
    chance = random.Random(SEED)
    header = 20 if family == "v4" else 40
    samples = [bytes(packet) for packet in good(site, family)]
    before = site.drops["malformed"]

    with wire(site, family) as send:
        for _ in range(PACKETS):
            packet = spoilt(chance.choice(samples), header, chance)
            if chance.random() < 0.9:
                packet = relength(packet, family)
            send(packet)

    assert until(lambda: site.drops["malformed"] > before)
    assert site.daemon.process.poll() is None
    assert len(set(site.visits(family, WEB, 3))) == 3


@pytest.mark.parametrize("length", range(8))
def test_a_udp_header_that_is_cut_short_is_malformed(
    site: Site, family: Family, length: int
) -> None:
    packet = bytes(good(site, family)[2])
    header = 20 if family == "v4" else 40
    before = site.drops["malformed"]

    with wire(site, family) as send:
        send(relength(packet[: header + length], family))

    if length < 4:  # without ports nftables sends it nowhere
        assert site.drops["malformed"] == before
    else:
        assert until(lambda: site.drops["malformed"] == before + 1)


def test_a_flood_of_datagrams_leaves_existing_connections_alone(site: Site, family: Family) -> None:
    flood = bytes(good(site, family)[2])

    with udp(site.lab.client, family) as talk, wire(site, family) as send:
        talk.connect((site.vip(family), ECHO))
        for number in range(20):
            for _ in range(100):
                send(flood)
            talk.send(b"%d" % number)
            assert talk.recv(100).endswith(b" %d" % number)
