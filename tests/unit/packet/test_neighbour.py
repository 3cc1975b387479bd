"""Announcements, read back by an independent decoder."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from lvsd.packet.address import pack
from lvsd.packet.neighbour import announcement, owner

MAC = "02:00:0a:00:00:01"
PACKED_MAC = bytes.fromhex(MAC.replace(":", ""))
VIP4, VIP6 = "192.0.2.1", "2001:db8::1"


def test_an_announcement_over_ipv4_is_an_arp_request_for_itself() -> None:
    read = Ether(announcement(pack(VIP4), PACKED_MAC, is_router=True))
    assert (read.dst, read.src) == ("ff:ff:ff:ff:ff:ff", MAC)
    arp = read[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (
        1,
        MAC,
        VIP4,
        "00:00:00:00:00:00",
        VIP4,
    )


@pytest.mark.parametrize("is_router", [False, True])
def test_an_announcement_over_ipv6_is_an_advertisement_that_overrides(*, is_router: bool) -> None:
    frame = announcement(pack(VIP6), PACKED_MAC, is_router=is_router)
    read = Ether(frame)
    assert (read.dst, read.src) == ("33:33:00:00:00:01", MAC)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == (VIP6, "ff02::1", 255)
    told = read[ICMPv6ND_NA]
    assert (told.R, told.S, told.O, told.tgt) == (int(is_router), 0, 1, VIP6)
    assert told[ICMPv6NDOptDstLLAddr].lladdr == MAC
    checksum = told.cksum
    del told.cksum
    assert Ether(bytes(read))[ICMPv6ND_NA].cksum == checksum
    assert owner(0x86DD, frame[14:], b"") == (pack(VIP6), PACKED_MAC)
