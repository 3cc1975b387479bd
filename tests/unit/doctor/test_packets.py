"""The doctor's questions are what scapy reads in them, and answers are told from other packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from forwarders.plan import Encapsulate
from lvsd.doctor import packets
from lvsd.doctor.packets import Told
from lvsd.packet import neighbour
from lvsd.packet.address import pack
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import Packet

SOURCE = {4: "10.0.0.1", 6: "fd00:10::1"}
SERVER = {4: "10.0.0.11", 6: "fd00:10::11"}
ROUTER = {4: "10.0.0.254", 6: "fd00:10::254"}
MAC, SERVER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:11"
US, NUMBER = 0xA5A5, 7


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def echo(version: int, size: int = 64) -> bytes:
    return packets.echo(pack(SOURCE[version]), pack(SERVER[version]), US, NUMBER, size)


def reply(version: int, identifier: int = US) -> bytes:
    if version == 4:
        ip = IP(src=SERVER[4], dst=SOURCE[4])
        return bytes(ip / ICMP(type=0, id=identifier, seq=NUMBER))
    return bytes(IPv6(src=SERVER[6], dst=SOURCE[6]) / ICMPv6EchoReply(id=identifier, seq=NUMBER))


def unreachable(version: int, code: int, about: bytes, mtu: int = 0) -> bytes:
    if version == 4:
        ip = IP(src=ROUTER[4], dst=SOURCE[4])
        return bytes(ip / ICMP(type=3, code=code, nexthopmtu=mtu) / about)
    return bytes(IPv6(src=ROUTER[6], dst=SOURCE[6]) / ICMPv6DestUnreach(code=code) / about)


@pytest.mark.parametrize("size", [48, 64, 1499, 1500, 9000])
@pytest.mark.parametrize("version", [4, 6])
def test_an_echo_is_as_long_as_asked_and_has_right_checksums(version: int, size: int) -> None:
    sent = echo(version, size)

    read = IP(sent) if version == 4 else IPv6(sent)
    again = read.copy()
    if version == 4:
        del again.chksum, again[ICMP].chksum
        assert (read.flags, read[ICMP].id, read[ICMP].seq) == ("DF", US, NUMBER)
    else:
        del again[ICMPv6EchoRequest].cksum
        assert (read[ICMPv6EchoRequest].id, read[ICMPv6EchoRequest].seq) == (US, NUMBER)
    assert bytes(again) == sent
    assert len(sent) == size


def test_an_arp_request_asks_everybody() -> None:
    frame = neighbour.who_has(pack(SERVER[4]), pack(SOURCE[4]), packed(MAC))

    read = Ether(frame)
    assert (read.dst, read.src, read[ARP].op) == ("ff:ff:ff:ff:ff:ff", MAC, 1)
    assert (read[ARP].hwsrc, read[ARP].psrc, read[ARP].pdst) == (MAC, SOURCE[4], SERVER[4])


def test_a_solicitation_asks_the_addresses_own_group() -> None:
    frame = neighbour.who_has(pack(SERVER[6]), pack(SOURCE[6]), packed(MAC))

    read = Ether(frame)
    assert (read.dst, read[IPv6].dst, read[IPv6].hlim) == (
        "33:33:ff:00:00:11",
        "ff02::1:ff00:11",
        255,
    )
    assert (read[ICMPv6ND_NS].tgt, read[ICMPv6NDOptSrcLLAddr].lladdr) == (SERVER[6], MAC)
    checksum = read[ICMPv6ND_NS].cksum
    del read[ICMPv6ND_NS].cksum
    assert Ether(bytes(read))[ICMPv6ND_NS].cksum == checksum


def test_an_arp_reply_names_the_owner_and_a_request_does_not() -> None:
    answer = ARP(op=2, hwsrc=SERVER_MAC, psrc=SERVER[4], hwdst=MAC, pdst=SOURCE[4])
    expected = pack(SERVER[4]), packed(SERVER_MAC)
    assert neighbour.owner(neighbour.ARP_TYPE, bytes(answer), b"") == expected
    answer.op = 1
    assert neighbour.owner(neighbour.ARP_TYPE, bytes(answer), b"") is None


@pytest.mark.parametrize(("hops", "counts"), [(255, True), (254, False)])
def test_an_advertisement_counts_from_the_link_only(*, hops: int, counts: bool) -> None:
    head = IPv6(src=SERVER[6], dst=SOURCE[6], hlim=hops) / ICMPv6ND_NA(tgt=SERVER[6])
    answer = bytes(head / ICMPv6NDOptDstLLAddr(lladdr=SERVER_MAC))
    expected = (pack(SERVER[6]), packed(SERVER_MAC)) if counts else None
    assert neighbour.owner(0x86DD, answer, packed(MAC)) == expected


def test_an_advertisement_without_a_mac_is_its_senders() -> None:
    answer = bytes(IPv6(src=SERVER[6], dst=SOURCE[6], hlim=255) / ICMPv6ND_NA(tgt=SERVER[6]))
    assert neighbour.owner(0x86DD, answer, packed(MAC)) == (pack(SERVER[6]), packed(MAC))


@pytest.mark.parametrize("version", [4, 6])
def test_a_reply_to_our_echo_tells_its_number(version: int) -> None:
    assert packets.told(reply(version), US) == Told(NUMBER)


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_not_about_our_echoes_tells_nothing(version: int) -> None:
    ours = echo(version)
    others = packets.echo(pack(SOURCE[version]), pack(SERVER[version]), US + 1, NUMBER, 64)
    ip = IP(dst=SERVER[4]) if version == 4 else IPv6(dst=SERVER[6])
    for packet in (
        reply(version, US + 1),
        ours,
        unreachable(version, 1, others),
        bytes(ip / UDP()),
    ):
        assert packets.told(packet, US) is None


def test_an_error_about_our_echo_tells_who_says_what() -> None:
    expected = Told(NUMBER, "10.0.0.254 says: no route to the network")
    assert packets.told(unreachable(4, 0, echo(4)), US) == expected
    expected = Told(NUMBER, "fd00:10::254 says: no route")
    assert packets.told(unreachable(6, 0, echo(6)), US) == expected


def test_a_packet_that_was_too_long_tells_the_mtu() -> None:
    told = packets.told(unreachable(4, 4, echo(4, 1500)[:28], 1400), US)
    assert told == Told(NUMBER, "10.0.0.254 says: too long", 1400)


@pytest.mark.parametrize("inside", [4, 6])
@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("kind", ["ipip", "gre"])
def test_an_error_about_a_tunnel_is_about_the_echo_inside(
    inside: int, outside: int, kind: str
) -> None:
    step = Encapsulate(pack(SOURCE[outside]), pack(SERVER[outside]), kind)  # type: ignore[arg-type]  # it is one
    packet = Packet()
    packet.load(echo(inside))
    wrapped = compile_tunnel(step).wrap(packet, 1)
    told = packets.told(unreachable(outside, 2 if outside == 4 else 4, wrapped), US)
    assert told == Told(NUMBER, f"{ROUTER[outside]} says: no tunnel is received there")


@given(st.binary(max_size=120), st.sampled_from([0x0800, 0x86DD, neighbour.ARP_TYPE]))
def test_nothing_that_comes_raises(data: bytes, kind: int) -> None:
    owner = neighbour.owner(kind, data, packed(MAC))
    assert owner is None or len(owner[1]) == 6
    assert packets.told(data, US) is None
