"""ARP and neighbour discovery: ask for an address's MAC, announce one, read an answer.

RFC 826 and RFC 5227 for IPv4, RFC 4861 for IPv6. What is asked and announced is whole frames.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from lvsd.packet.build import icmpv6_message, ip_packet, seal
from lvsd.packet.numbers import ETHERTYPES, ICMPV6
from lvsd.packet.view import Packet

ARP_TYPE: Final = 0x0806
BROADCAST: Final = b"\xff" * 6

_ALL_NODES: Final = b"\xff\x02" + bytes(13) + b"\x01"
_NDP_HOPS: Final = 255  # RFC 4861, section 7.1
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_MAC, _TARGET_MAC = 1, 2  # options of RFC 4861, section 4.6.1
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000
"""Flags of an advertisement, in the word after the checksum (RFC 4861, section 4.4)."""

_ARP: Final = Struct("!HHBBH6s4s6s4s")  # types, lengths, operation, sender, target (RFC 826)
_ARP_REQUEST, _ARP_REPLY = 1, 2


def frame(destination: bytes, source: bytes, packet: bytes) -> bytes:
    """Return an Ethernet frame around an IP packet."""
    return destination + source + ETHERTYPES[packet[0] >> 4] + packet


def who_has(address: bytes, source: bytes, mac: bytes) -> bytes:
    """Return the frame that asks for an address's MAC: ARP (RFC 826), or RFC 4861, section 4.3."""
    if len(address) == 4:
        return _arp(mac, source, address)
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + address[13:]
    body = address + bytes((_SOURCE_MAC, 1)) + mac
    return _ndp(_SOLICITATION, 0, body, source, group, mac)


def announcement(address: bytes, mac: bytes, *, is_router: bool) -> bytes:
    """Return the frame that tells a link that ``mac`` has an address now, without being asked.

    Over IPv4 an ARP request from the address for itself (RFC 5227, section 3), over IPv6 an
    unsolicited advertisement to all nodes (RFC 4861, section 7.2.6): whoever knows another MAC
    forgets it. ``is_router`` says that this host forwards IPv6.
    """
    if len(address) == 4:
        return _arp(mac, address, address)
    flags = _OVERRIDE | (_ROUTER if is_router else 0)
    body = address + bytes((_TARGET_MAC, 1)) + mac
    return _ndp(_ADVERTISEMENT, flags, body, address, _ALL_NODES, mac)


def owner(ethertype: int, data: bytes, sender: bytes) -> tuple[bytes, bytes] | None:
    """Return (address, MAC) of an ARP reply or a neighbour advertisement; None: it is neither.

    ``sender`` is the MAC that the frame came from, for advertisements that tell none.
    """
    if ethertype == ARP_TYPE:
        if len(data) < _ARP.size:
            return None
        *_, operation, mac, address, _, _ = _ARP.unpack_from(data)
        return (address, mac) if operation == _ARP_REPLY else None
    packet = Packet()
    if packet.load(data) is not None or packet.protocol != ICMPV6 or packet.version != 6:
        return None
    body = data[packet.l4 : packet.end]
    if len(body) < 24 or body[0] != _ADVERTISEMENT or packet.ttl != _NDP_HOPS:
        return None
    told = len(body) >= 32 and body[24:26] == bytes((_TARGET_MAC, 1))
    return body[8:24], body[26:32] if told else sender


def _arp(mac: bytes, source: bytes, target: bytes) -> bytes:
    request = _ARP.pack(1, 0x0800, 6, 4, _ARP_REQUEST, mac, source, bytes(6), target)
    return BROADCAST + mac + ARP_TYPE.to_bytes(2, "big") + request


def _ndp(kind: int, flags: int, body: bytes, source: bytes, group: bytes, mac: bytes) -> bytes:
    """Return a frame of neighbour discovery to a multicast group (RFC 2464, section 7)."""
    message = seal(icmpv6_message(kind, 0, flags, body), ICMPV6, source, group)
    packet = ip_packet(source, group, ICMPV6, message, ttl=_NDP_HOPS)
    return frame(b"\x33\x33" + group[12:], mac, packet)
