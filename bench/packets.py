"""Packets of a client to the virtual service, byte by byte.

They need nothing of lvsd but its packet layer, so that old revisions can be measured with them.
"""

from __future__ import annotations

from typing import Final

from lvsd.packet.address import pack
from lvsd.packet.checksum import checksum, crc32c, pseudo_header
from lvsd.packet.view import SCTP, TCP, UDP

ENDS: Final = {
    4: (pack("198.51.100.7"), pack("192.0.2.10"), pack("10.0.0.11")),
    6: (pack("2001:db8::7"), pack("2001:db8::10"), pack("fd00::11")),
}
"""CIP, VIP and RIP of each IP version."""

CPORT: Final = 40000
VPORT: Final = 80
RPORT: Final = 8080
MTU: Final = 1500
ADDRESSES_AT: Final = {4: 12, 6: 8}
L4: Final = {4: 20, 6: 40}


def build(version: int, protocol: int, size: int, options: bytes = b"") -> bytes:
    """Return a packet from client to VIP of ``size`` bytes in all."""
    cip, vip, _ = ENDS[version]
    l4 = (20 if version == 4 else 40) + len(options)
    ports = CPORT.to_bytes(2, "big") + VPORT.to_bytes(2, "big")
    rest = {
        TCP: bytes(8) + b"\x50\x10\x20\x00" + bytes(4),
        UDP: (size - l4).to_bytes(2, "big") + bytes(2),
        SCTP: bytes(8) + b"\x00\x03" + (size - l4 - 12).to_bytes(2, "big"),
    }[protocol]
    segment = bytearray((ports + rest).ljust(size - l4, b"\xa5"))
    if protocol == SCTP:
        segment[8:12] = crc32c(bytes(segment))
    else:
        at = 16 if protocol == TCP else 6
        carry = pseudo_header(cip, vip, protocol, len(segment))
        segment[at : at + 2] = checksum(segment, carry).to_bytes(2, "big")
    if version == 6:
        start = b"\x60\x00\x00\x00" + len(segment).to_bytes(2, "big") + bytes((protocol, 64))
        return start + cip + vip + segment
    header = bytearray((0x40 | l4 >> 2, 0, *size.to_bytes(2, "big"), 0, 1, 0x40, 0, 64, protocol))
    header += bytes(2) + cip + vip + options
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header + segment)
