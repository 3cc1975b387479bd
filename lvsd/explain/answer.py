"""The director's own ICMP errors, as its kernel sends them: with an IP header in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import IPV4_CHECKSUM, checksum, pseudo_header
from lvsd.packet.view import ICMP, ICMPV6

if TYPE_CHECKING:
    from lvsd.core.outbox import Answer

TTL: Final = 64
NETWORK_CONTROL: Final = 0xC0
"""The precedence of an ICMP error over IPv4 (RFC 1812, section 4.3.2.5)."""

_ICMPV6_CHECKSUM: Final = slice(2, 4)


def answer_packet(answer: Answer, source: bytes) -> bytes:
    """Return an error in a packet from ``source``, a packed address of the director's."""
    ends = source + answer.destination
    if len(ends) == 32:
        message = bytearray(answer.message)
        message[_ICMPV6_CHECKSUM] = bytes(2)
        carry = pseudo_header(source, answer.destination, ICMPV6, len(message))
        message[_ICMPV6_CHECKSUM] = checksum(message, carry).to_bytes(2, "big")
        length = len(message).to_bytes(2, "big")
        return b"\x60\x00\x00\x00" + length + bytes((ICMPV6, TTL)) + ends + message
    length = (20 + len(answer.message)).to_bytes(2, "big")
    header = bytearray((0x45, NETWORK_CONTROL, *length, 0, 0, 0, 0, TTL, ICMP, 0, 0))
    header += ends
    header[IPV4_CHECKSUM : IPV4_CHECKSUM + 2] = checksum(header).to_bytes(2, "big")
    return bytes(header) + answer.message
