"""ICMP errors: those that the director sends, and those that pass through it.

What it sends are ICMP messages without an IP header, which a raw socket puts in front. What
passes through quotes a packet of one of our connections, and is rewritten outside and inside.
Both for ICMP (RFC 792) and ICMPv6 (RFC 4443).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.build import icmp_message, icmpv6_message
from lvsd.packet.checksum import apply, apply_udp, transport_checksum
from lvsd.packet.layout import (
    CHECKSUM_AT,
    ICMP_CHECKSUM,
    ICMP_HEADER,
    IPV4_CHECKSUM,
    LAYOUTS,
    PORTED,
)
from lvsd.packet.numbers import Icmp, Icmp6
from lvsd.packet.view import ICMP, ICMPV6, UDP, Fault, Packet

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.packet.rewrite import End

HEADER_BYTES: Final = ICMP_HEADER.size
"""An ICMP error's own header; the quoted packet follows."""

MAX_QUOTE: Final = {
    version: most - LAYOUTS[version].length - HEADER_BYTES
    for version, most in ((4, 576), (6, 1280))
}
"""How much of a packet an error quotes: all that fits into 576 bytes (RFC 1812, section 4.3.2.3),
or into the minimum MTU of 1280 (RFC 4443, section 2.4 c)."""

PASSED_ON: Final = frozenset({Icmp.UNREACHABLE, Icmp.SOURCE_QUENCH, Icmp.TIME_EXCEEDED})
"""The ICMP errors that belong to a connection, as IPVS sees it (ip_vs_in_icmp)."""

NEVER_ANSWERED: Final = PASSED_ON | {Icmp.REDIRECT, Icmp.PARAMETER_PROBLEM}
"""ICMP types that no error is sent about (RFC 1122, section 3.2.2)."""

INFORMATIONAL: Final = 128
"""ICMPv6 types from here on are not errors (RFC 4443, section 2.1)."""


def time_exceeded(packet: Packet) -> bytes:
    """Return the message that a packet's TTL ran out here: type 11 or 3, code 0."""
    return _error(packet, Icmp.TIME_EXCEEDED, 0, Icmp6.TIME_EXCEEDED, 0)


def port_unreachable(packet: Packet) -> bytes:
    """Return the message that nobody serves a packet's port: type 3 code 3, or type 1 code 4."""
    return _error(packet, Icmp.UNREACHABLE, 3, Icmp6.UNREACHABLE, 4)


def too_big(packet: Packet, mtu: int) -> bytes:
    """Return the message that a packet is larger than the way out, whose MTU is in bytes.

    Fragmentation needed (RFC 1191, section 4; an MTU over 65535 is said as that), or packet too
    big (RFC 4443, section 3.2).
    """
    if packet.version == 4:
        mtu = min(mtu, 0xFFFF)
    return _error(packet, Icmp.UNREACHABLE, 4, Icmp6.TOO_BIG, 0, mtu)


def next_hop_mtu(packet: Packet) -> int | None:
    """Return the MTU that an error says a way has, 0 if it does not tell; None: another error."""
    at = packet.l4 + 4
    if packet.version == 4:
        if (packet.icmp_type, packet.icmp_code) != (Icmp.UNREACHABLE, 4):
            return None
        return int.from_bytes(packet.data[at + 2 : at + 4], "big")
    if packet.icmp_type != Icmp6.TOO_BIG:
        return None
    return int.from_bytes(packet.data[at : at + 4], "big")


def relayed(packet: Packet, about: Packet) -> bytes:
    """Return the message that tells the sender of ``about`` what an error says of its tunnel.

    Type and code stay as they are (ip_vs_in_icmp). Where the tunnel is of the other family, they
    become those of an unreachable host or of an expired TTL.
    """
    if packet.version == about.version:
        kind, code = packet.icmp_type, packet.icmp_code
        return _message(about, kind, code)
    expired = Icmp.TIME_EXCEEDED if packet.version == 4 else Icmp6.TIME_EXCEEDED
    if packet.icmp_type == expired:
        return time_exceeded(about)
    return _error(about, Icmp.UNREACHABLE, 1, Icmp6.UNREACHABLE, 3)


def may_answer(packet: Packet) -> bool:
    """Tell whether an ICMP error may be sent about this packet.

    Not about another error or a redirect, nor a fragment but the first, nor a packet to more than
    one host, nor one whose source is not a single host that could be reached (RFC 1122, section
    3.2.2; RFC 4443, section 2.4 e). A broadcast to a subnet is not known for one here.
    """
    kind = packet.icmp_type
    source, destination = packet.source, packet.destination
    if packet.version == 4:
        return not (
            packet.fragment_offset
            or kind in NEVER_ANSWERED
            or destination[0] >= 224
            or source[0] >= 224
            or source[0] in {0, 127}
        )
    return not (
        packet.fragment_offset
        or 0 <= kind < INFORMATIONAL
        or kind == Icmp6.REDIRECT
        or destination[0] == 0xFF
        or source[0] == 0xFF
        or int.from_bytes(source, "big") <= 1  # unspecified, loopback
    )


def is_error(packet: Packet) -> bool:
    """Tell whether this is an ICMP error that may belong to a connection."""
    if packet.version == 4:
        return packet.protocol == ICMP and packet.icmp_type in PASSED_ON
    return packet.protocol == ICMPV6 and 0 <= packet.icmp_type < INFORMATIONAL


def is_port_unreachable(packet: Packet) -> bool:
    """Tell whether an ICMP error says that nobody listens on a port (RFC 792; RFC 4443, 3.1)."""
    said = packet.icmp_type, packet.icmp_code
    return said == ((Icmp.UNREACHABLE, 3) if packet.version == 4 else (Icmp6.UNREACHABLE, 4))


def embedded(packet: Packet, inner: Packet) -> Fault | None:
    """Load into ``inner`` the packet that an ICMP error quotes; return what is wrong, or None.

    Wrong may be: it is no error, it is a fragment, its checksum does not hold, or the packet
    inside is not one, not of the same IP version, or cut before 8 bytes of its transport header.
    """
    if not is_error(packet):
        return Fault.NOT_AN_ERROR
    if packet.fragment:
        return Fault.FRAGMENTED
    message = packet.data[packet.l4 : packet.end]
    if transport_checksum(message, packet.protocol, packet.source, packet.destination):
        return Fault.BAD_CHECKSUM
    quote = packet.data[packet.l4 + HEADER_BYTES : packet.end]
    if quote and quote[0] >> 4 != packet.version:
        return Fault.BAD_VERSION
    return inner.load(quote, quoted=True)


def rewrite_error(
    packet: Packet,
    inner: Packet,
    *,
    outer_source: bytes | None = None,
    outer_destination: bytes | None = None,
    inner_source: End | None = None,
    inner_destination: End | None = None,
) -> bytes:
    """Return an ICMP error with new ends, outside and inside; what is not given stays.

    ``inner`` as `embedded` loaded it. The quoted packet travels the other way: an error from a
    real server about a request gets ``outer_source`` VIP and ``inner_destination`` VIP:vport; one
    from a client about a reply gets ``outer_destination`` RIP and ``inner_source`` RIP:rport
    (ip_vs_nat_icmp). The quoted transport checksum is updated where it was quoted; SCTP's, which
    covers more than is quoted, is not. The ICMP checksum is computed anew.
    """
    l4 = packet.l4
    out = bytearray(packet.data[: packet.end])
    _redirect(out, 0, packet, _portless(outer_source), _portless(outer_destination))
    _redirect(out, l4 + HEADER_BYTES, inner, inner_source, inner_destination)
    at = l4 + ICMP_CHECKSUM
    out[at : at + 2] = bytes(2)
    source, destination = outer_source or packet.source, outer_destination or packet.destination
    value = transport_checksum(out[l4:], packet.protocol, source, destination)
    out[at : at + 2] = value.to_bytes(2, "big")
    return bytes(out)


def _error(packet: Packet, kind: Icmp, code: int, kind6: Icmp6, code6: int, rest: int = 0) -> bytes:
    """Return an error about a packet, of its own family."""
    if packet.version == 6:
        return _message(packet, kind6, code6, rest)
    return _message(packet, kind, code, rest)


def _message(packet: Packet, kind: int, code: int, rest: int = 0) -> bytes:
    """Return a message that quotes a packet; the checksum of ICMPv6 is left 0, to the kernel."""
    quote = packet.data[: min(packet.end, MAX_QUOTE[packet.version])]
    if packet.version == 6:
        return icmpv6_message(kind, code, rest, quote)
    return icmp_message(kind, code, rest, quote)


def _portless(address: bytes | None) -> End | None:
    return None if address is None else (address, None)


def _redirect(
    out: bytearray, start: int, packet: Packet, source: End | None, destination: End | None
) -> None:
    """Write new ends into a packet that lies at ``start``, and update its checksums.

    As `lvsd.packet.rewrite.edit`, but for ends that are met once: it works out the difference in
    less time than a `Change` takes to make. A port of None stays.
    """
    connection_key, version = packet.key, packet.version
    half = len(connection_key) - 3 >> 1
    at = start + LAYOUTS[version].source_at
    ported = packet.protocol in PORTED and not packet.fragment_offset
    moved = ports = 0
    for offset, end, address_at, port_at in (
        (0, source, 1, -4),
        (half - 1, destination, half, -2),
    ):
        if end is None:
            continue
        address, port = end
        old = connection_key[address_at : address_at + half - 1]
        moved += int.from_bytes(address, "big") - int.from_bytes(old, "big")
        out[at + offset : at + offset + half - 1] = address
        if port is not None and ported:
            ports += port - (connection_key[port_at] << 8 | connection_key[port_at + 1])
            here = start + packet.l4 + 4 + port_at
            out[here] = port >> 8
            out[here + 1] = port & 0xFF
    if version == 4:
        _update(out, start + IPV4_CHECKSUM, moved % 0xFFFF or 0xFFFF, apply)
    where = CHECKSUM_AT.get(packet.protocol)
    if where is None or packet.fragment_offset or packet.l4 + where + 2 > packet.end:
        return
    change = (moved + ports) % 0xFFFF or 0xFFFF
    how = apply_udp if packet.protocol == UDP else apply
    _update(out, start + packet.l4 + where, change, how)


def _update(out: bytearray, at: int, change: int, how: Callable[[int, int], int]) -> None:
    value = how(out[at] << 8 | out[at + 1], change)
    out[at] = value >> 8
    out[at + 1] = value & 0xFF
