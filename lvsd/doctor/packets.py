"""The bytes of echoes, and what the answers say. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from lvsd.packet import icmp
from lvsd.packet.address import text
from lvsd.packet.build import icmp_message, icmpv6_message, ip_packet, seal
from lvsd.packet.layout import BY_WIDTH, ICMP_HEADER
from lvsd.packet.numbers import ICMP, ICMPV6, Icmp, Icmp6
from lvsd.packet.tunnel import unwrap
from lvsd.packet.view import Packet

_ERRORS: Final[dict[tuple[int, int, int], str]] = {
    (4, Icmp.UNREACHABLE, 0): "no route to the network",
    (4, Icmp.UNREACHABLE, 1): "no route to the host, or it is down",
    (4, Icmp.UNREACHABLE, 2): "no tunnel is received there",
    (4, Icmp.UNREACHABLE, 3): "no tunnel is received there",
    (4, Icmp.UNREACHABLE, 4): "too long",
    (4, Icmp.UNREACHABLE, 9): "forbidden",
    (4, Icmp.UNREACHABLE, 10): "forbidden",
    (4, Icmp.UNREACHABLE, 13): "forbidden",
    (6, Icmp6.UNREACHABLE, 0): "no route",
    (6, Icmp6.UNREACHABLE, 1): "forbidden",
    (6, Icmp6.UNREACHABLE, 3): "the host is down",
    (6, Icmp6.UNREACHABLE, 4): "no tunnel is received there",
    (6, Icmp6.PARAMETER_PROBLEM, 1): "no tunnel is received there",
    (6, Icmp6.TOO_BIG, 0): "too long",
}
"""Version, type and code -> what is meant by it about an echo or a tunnel (RFC 792, RFC 4443)."""


class Told(NamedTuple):
    """What a packet says of echo number ``number``: a reply, or an error in words."""

    number: int
    error: str = ""
    mtu: int = 0


def echo(source: bytes, destination: bytes, identifier: int, number: int, size: int) -> bytes:
    """Return an ICMP echo request of ``size`` bytes, its IP header included; DF is set."""
    content = b"lvsd doctor " * (size // 12 + 1)
    content = content[: max(0, size - BY_WIDTH[len(source)].length - ICMP_HEADER.size)]
    rest = identifier << 16 | number
    if len(source) == 4:
        return ip_packet(source, destination, ICMP, icmp_message(Icmp.ECHO, 0, rest, content))
    message = icmpv6_message(Icmp6.ECHO, 0, rest, content)
    return ip_packet(source, destination, ICMPV6, seal(message, ICMPV6, source, destination))


def told(data: bytes, identifier: int) -> Told | None:
    """Return what a packet says of one of our echoes; None when it is about none of them."""
    packet, inner = Packet(), Packet()
    if packet.load(data) is not None:
        return None
    reply = Icmp.ECHO_REPLY if packet.version == 4 else Icmp6.ECHO_REPLY
    number = _number(packet, identifier, reply)
    if number is not None:
        return Told(number)
    if icmp.embedded(packet, inner) is not None:
        return None
    request = Icmp.ECHO if inner.version == 4 else Icmp6.ECHO
    number = _number(inner, identifier, request)
    if number is None:
        number = _tunnelled(inner, identifier)
    if number is None:
        return None
    kind = packet.version, packet.icmp_type, packet.icmp_code
    words = _ERRORS.get(kind, f"ICMP type {packet.icmp_type} code {packet.icmp_code}")
    source = text(packet.source)
    return Told(number, f"{source} says: {words}", icmp.next_hop_mtu(packet) or 0)


def _tunnelled(outer: Packet, identifier: int) -> int | None:
    """Return the number of the echo in a tunnel's packet, which an error quotes."""
    port = outer.destination_port
    inside = unwrap(outer.data[: outer.end], {port})
    inner = Packet()
    if inside is None or inner.load(inside, quoted=True) is not None:
        return None
    return _number(inner, identifier, Icmp.ECHO if inner.version == 4 else Icmp6.ECHO)


def _number(packet: Packet, identifier: int, kind: int) -> int | None:
    """Return an echo's number, if the packet is such an ICMP message with our identifier."""
    protocol = ICMP if packet.version == 4 else ICMPV6
    if packet.protocol != protocol or packet.fragment or packet.l4 + 8 > packet.end:
        return None
    found, _, _, rest = ICMP_HEADER.unpack_from(packet.data, packet.l4)
    whose, number = divmod(rest, 1 << 16)
    return int(number) if (found, whose) == (kind, identifier) else None
