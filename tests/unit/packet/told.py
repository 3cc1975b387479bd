"""What a real server reads of the client: TOA, UOA, the header of PROXY v2."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from lvsd.packet.client_address import (
    OPTION_PROTOCOL,
    PROXY_SIGNATURE,
    UOA_KIND,
    ip_options,
    parse_toa,
)
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.tcp_options import options

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint, Packet

_OPTION_PROTOCOL = Struct("!BBH")
_PROXY = {0x11: (TCP, 4), 0x12: (UDP, 4), 0x21: (TCP, 16), 0x22: (UDP, 16)}
"""Protocol and width of addresses, by the byte for family and transport."""


class ProxyHeader(NamedTuple):
    """What a PROXY v2 header says; ``length`` is its own, in bytes, extensions included."""

    protocol: int
    source: Endpoint
    destination: Endpoint
    length: int


def read_toa(packet: Packet, kind: int) -> Endpoint | None:
    """Return the client that the first TOA of a TCP packet names."""
    for which, at, length in options(packet):
        if which == kind:
            return parse_toa(packet.data[at : at + length], kind)
    return None


def read_uoa(packet: Packet) -> Endpoint | None:
    """Return the client that UOA in a packet names, in whichever of its two shapes."""
    data = packet.data
    if packet.protocol == OPTION_PROTOCOL and not packet.fragment_offset:
        header = data[packet.l4 : packet.end]
        if len(header) < _OPTION_PROTOCOL.size:
            return None
        _, protocol, length = _OPTION_PROTOCOL.unpack_from(header)
        if protocol != UDP or length > len(header):
            return None
        return parse_toa(header[_OPTION_PROTOCOL.size : length], UOA_KIND)
    for kind, at, length in ip_options(packet):
        if kind == UOA_KIND:
            return parse_toa(data[at : at + length], UOA_KIND)
    return None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return what a PROXY v2 header that bytes begin with says; extensions are stepped over."""
    if data[:13] != PROXY_SIGNATURE + b"\x21" or len(data) < 16 or data[13] not in _PROXY:
        return None
    protocol, width = _PROXY[data[13]]
    length = 16 + int.from_bytes(data[14:16], "big")
    behind = 16 + 2 * width
    if length < behind + 4 or length > len(data):
        return None
    ports = (int.from_bytes(data[at : at + 2], "big") for at in (behind, behind + 2))
    addresses = data[16 : 16 + width], data[16 + width : behind]
    source, destination = zip(addresses, ports, strict=True)
    return ProxyHeader(protocol, source, destination, length)
