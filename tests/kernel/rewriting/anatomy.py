"""Looking into packets that left a director: what they are, and whether they are right."""

from __future__ import annotations

from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP, checksum
from tests.kernel.rewriting import shapes
from tests.kernel.rewriting.talk import GUE_PORT
from tests.kernel.rig import without_padding
from tests.kernel.scenario import Seen, Side

IPIP, IPV6_INSIDE, GRE = 4, 41, 47
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
INFORMATIONAL = 128
"""ICMPv6 types from here on are no errors."""
TOO_BIG = {4: (3, 4), 6: (2, 0)}
EXTENSIONS = frozenset(
    {shapes.HOP_BY_HOP, shapes.ROUTING, shapes.FRAGMENT, shapes.DESTINATION_OPTIONS}
)
LEAST = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 8, ICMPV6: 8}
"""Bytes of the shortest header of each protocol."""
_ICMP_BYTES = 8


def transport(data: bytes) -> tuple[int, int]:
    """Return the protocol behind extension headers, and where its header is."""
    protocol, at = shapes.protocol(data), shapes.header_bytes(data)
    while shapes.version(data) == 6 and protocol in EXTENSIONS and at + 8 <= len(data):
        if protocol == shapes.FRAGMENT and int.from_bytes(data[at + 2 : at + 4]) & 0xFFF8:
            break
        size = 8 if protocol == shapes.FRAGMENT else 8 * (data[at + 1] + 1)
        protocol, at = data[at], at + size
    return protocol, at


def is_malformed(data: bytes) -> bool:
    """Whether a packet has no whole transport header, or one that lies about a length."""
    protocol, at = transport(data)
    room = len(data) - at
    if room < LEAST.get(protocol, 0):
        return True
    if protocol == TCP:
        return not 20 <= data[at + 12] >> 4 << 2 <= room
    return protocol == UDP and not 8 <= int.from_bytes(data[at + 4 : at + 6]) <= room


def next_hop(sent: bytes) -> bytes:
    """Return a packet as it is forwarded when nobody else touches it."""
    return shapes.hops_later(sent)


# --- tunnels -----------------------------------------------------------------------------------


def is_tunnel(data: bytes) -> bool:
    """Whether a packet is a tunnel's; nothing else here goes to GUE's port."""
    protocol = shapes.protocol(data)
    if protocol == UDP:
        at = shapes.header_bytes(data) + 2
        return data[at : at + 2] == GUE_PORT.to_bytes(2)
    return protocol in {IPIP, IPV6_INSIDE, GRE}


def inside(outer: bytes) -> bytes:
    """Return the packet in a tunnel's."""
    at = shapes.header_bytes(outer)
    protocol = shapes.protocol(outer)
    if protocol == UDP:
        at += 8 + 4
    elif protocol == GRE:
        at += 8 if outer[at] & 0x80 else 4
    return outer[at:]


# --- ICMP --------------------------------------------------------------------------------------


def quoted(data: bytes) -> bytes:
    """Return the packet that an ICMP error quotes, nothing if it is no error."""
    protocol, at = transport(data)
    if len(data) < at + _ICMP_BYTES:
        return b""
    is_error = (protocol == ICMP and data[at] in ICMP_ERRORS) or (
        protocol == ICMPV6 and data[at] < INFORMATIONAL
    )
    return data[at + _ICMP_BYTES :] if is_error else b""


def kind(data: bytes) -> tuple[int, int]:
    """Return the type and code of an ICMP message without IP options."""
    at = shapes.header_bytes(data)
    return data[at], data[at + 1]


def too_big(data: bytes) -> tuple[int, int]:
    """Return the type and code of "too big" in the family of a packet."""
    return TOO_BIG[shapes.version(data)]


def told_mtu(error: bytes) -> int:
    """Return the MTU in an ICMP message without IP options."""
    at = shapes.header_bytes(error) + 4
    return int.from_bytes(error[at : at + 4])


def is_own(sent: bytes, data: bytes) -> bool:
    """Whether a packet has an IP header of the director's making, not one that passed through."""
    if is_tunnel(data):
        return True
    if quoted(sent):
        return is_tunnel(quoted(sent))
    return shapes.destination(data) == shapes.source(sent)


def is_own_error(sent: bytes, data: bytes) -> bool:
    """Whether a packet is an ICMP error that the director sends."""
    return bool(quoted(data)) and is_own(sent, data)


# --- checksums ---------------------------------------------------------------------------------


def unsummed(data: bytes, at: int) -> bytes:
    """Return an IPv4 packet without the header checksum, if that is right."""
    header = data[at : at + ((data[at] & 0x0F) << 2)]
    return shapes.with_bytes(data, at + 10, bytes(2)) if not checksum(header) else data


def without_checksum(data: bytes) -> bytes:
    """Return a packet without its transport checksum, if that is right; else as it is."""
    protocol, start = transport(data)
    pseudo = shapes.source(data) + shapes.destination(data)
    pseudo += (len(data) - start).to_bytes(4) + protocol.to_bytes(4)
    if checksum(data[start:] if protocol == ICMP else pseudo + data[start:]):
        return data
    return shapes.with_bytes(data, start + shapes.CHECKSUM_AT[protocol], bytes(2))


# --- fragments ---------------------------------------------------------------------------------


def is_fragment(seen: Seen) -> bool:
    """Whether a packet is a piece of one; of IPv6 it may be all of it (RFC 6946)."""
    data = seen.data
    if shapes.version(data) == 4:
        return bool(int.from_bytes(data[6:8]) & 0x3FFF)
    return shapes.protocol(data) == shapes.FRAGMENT


def _has_more(data: bytes) -> bool:
    """Whether others follow a fragment."""
    return bool(data[6] & 0x20 if shapes.version(data) == 4 else data[43] & 1)


def _offset(seen: Seen) -> int:
    """Return where a fragment belongs, in bytes."""
    data = seen.data
    if shapes.version(data) == 4:
        return (int.from_bytes(data[6:8]) & 0x1FFF) * 8
    return int.from_bytes(data[42:44]) & 0xFFF8


def put_together(seen: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """Return packets put together, if they are all pieces of one; IPv6's then have no number."""
    if not seen or not all(map(is_fragment, seen)):
        return seen
    first = min(seen, key=_offset)
    header = shapes.header_bytes(first.data)
    if shapes.version(first.data) == 4:
        number, payload_at = slice(4, 6), header
        whole = shapes.with_bytes(first.data[:header], 6, bytes((first.data[6] & 0xC0, 0)))
    else:
        number, payload_at = slice(header + 4, header + 8), header + 8
        whole = shapes.with_bytes(first.data[:header], 6, first.data[header : header + 1])
    identity = first.side, first.mac, first.data[number]
    pieces = {_offset(each): each for each in seen}
    for start, each in sorted(pieces.items()):
        if (each.side, each.mac, each.data[number]) != identity or start != len(whole) - header:
            return seen
        whole += each.data[payload_at:]
    if _has_more(pieces[max(pieces)].data):
        return seen
    return (Seen(first.side, first.mac, shapes.refreshed(whole)),)


class Assembly:
    """Puts together what is sent in fragments, as rules look at whole packets."""

    def __init__(self) -> None:
        self._pieces: dict[bytes, list[Seen]] = {}

    def add(self, data: bytes) -> bytes:
        """Return a packet without padding; its whole, once all the others of it have been here."""
        data = without_padding(data)
        piece = Seen(Side.CLIENT, b"", data)
        if not is_fragment(piece):
            return data
        at = 4 if shapes.version(data) == 4 else shapes.header_bytes(data) + 4
        number = data[at : at + (2 if at == 4 else 4)]
        pieces = self._pieces.setdefault(number, [])
        pieces.append(piece)
        pieces.sort(key=_offset)
        whole = put_together(tuple(pieces))
        return whole[0].data if len(whole) == 1 else data
