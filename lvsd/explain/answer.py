"""The director's own ICMP errors, as its kernel sends them: with an IP header in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.build import ip_packet, seal
from lvsd.packet.view import ICMP, ICMPV6

if TYPE_CHECKING:
    from lvsd.core.outbox import Answer

NETWORK_CONTROL: Final = 0xC0
"""The precedence of an ICMP error over IPv4 (RFC 1812, section 4.3.2.5)."""


def answer_packet(answer: Answer, source: bytes) -> bytes:
    """Return an error in a packet from ``source``, a packed address of the director's."""
    destination = answer.destination
    if len(source) == 4:
        return ip_packet(
            source,
            destination,
            ICMP,
            answer.message,
            dsfield=NETWORK_CONTROL,
            dont_fragment=False,
        )
    message = seal(answer.message, ICMPV6, source, destination)
    return ip_packet(source, destination, ICMPV6, message)
