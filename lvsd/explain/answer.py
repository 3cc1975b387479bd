"""The director's own ICMP errors, as its kernel sends them: with an IP header in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.explain.stack import ip_packet
from lvsd.packet.checksum import checksum, pseudo_header
from lvsd.packet.view import ICMP, ICMPV6

if TYPE_CHECKING:
    from lvsd.core.outbox import Answer

NETWORK_CONTROL: Final = 0xC0
"""The precedence of an ICMP error over IPv4 (RFC 1812, section 4.3.2.5)."""

_ICMPV6_CHECKSUM: Final = slice(2, 4)


def answer_packet(answer: Answer, source: bytes) -> bytes:
    """Return an error in a packet from ``source``, a packed address of the director's."""
    destination = answer.destination
    if len(source) == 4:
        return ip_packet(source, destination, ICMP, answer.message, dsfield=NETWORK_CONTROL)
    message = bytearray(answer.message)
    message[_ICMPV6_CHECKSUM] = bytes(2)
    carry = pseudo_header(source, destination, ICMPV6, len(message))
    message[_ICMPV6_CHECKSUM] = checksum(message, carry).to_bytes(2, "big")
    return ip_packet(source, destination, ICMPV6, bytes(message))
