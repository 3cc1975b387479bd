"""A packet as a checked view over one buffer: lengths are validated once, accessors cannot fail.

One class for IPv4 and IPv6. `Packet.load` takes any bytes whatsoever and says what is wrong with
them, or nothing; afterwards every attribute and property is good. The connection key is made of
the bytes as they lie in the packet, so that a request and a reply are each found by one look-up::

    protocol (1)  source (4 or 16)  destination (4 or 16)  source port (2)  destination port (2)
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final, TypeAlias

from lvsd.packet.layout import ADDRESSES, IPV4, IPV6, LEAST_BYTES, PORTED, PORTS
from lvsd.packet.numbers import (
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    ROUTING,
    SCTP,
    TCP,
    UDP,
    Chunk,
)

__all__ = [
    "ICMP",
    "ICMPV6",
    "SCTP",
    "TCP",
    "UDP",
    "Endpoint",
    "Fault",
    "Packet",
    "key",
    "reversed_key",
    "split_key",
]

Endpoint: TypeAlias = tuple[bytes, int]
"""A packed address and a port in host order."""

EXTENSIONS: Final = frozenset(
    {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS},
)
"""IPv6 headers that stand before the upper protocol and say where the next one begins."""

MAX_EXTENSIONS: Final = 8
"""More than these are a fault. RFC 8200, section 4.1, has use for seven."""

QUOTED_BYTES: Final = 8
"""An ICMP error quotes at least this much of the transport header (RFC 792)."""

_NO_PORTS: Final = bytes(4)
_BYTE: Final = tuple(bytes((number,)) for number in range(256))

_IPV4: Final = IPV4.reader(
    "first", "length", "fragmentation", "ttl", "protocol", ADDRESSES
).unpack_from
_IPV6: Final = IPV6.reader("length", "protocol", "ttl", ADDRESSES).unpack_from
_TCP: Final = Struct("!4s8xBB").unpack_from
_U16: Final = Struct("!H").unpack_from


class Fault(Enum):
    """What is wrong with a packet."""

    TRUNCATED = "shorter than its headers say"
    BAD_VERSION = "neither IPv4 nor IPv6"
    BAD_HEADER_LENGTH = "a header length that cannot be"
    BAD_LENGTH = "a length field that cannot be"
    TOO_MANY_HEADERS = "too many IPv6 extension headers"
    NOT_AN_ERROR = "not an ICMP error"
    FRAGMENTED = "a fragment, where a whole packet is needed"
    BAD_CHECKSUM = "a wrong ICMP checksum"


class Packet:
    """An IPv4 or IPv6 packet. Reusable: each `load` that finds no fault replaces what was seen.

    ``data``             the buffer as it was handed in
    ``version``          4 or 6; 0 before the first `load`
    ``protocol``         the upper protocol, behind any IPv6 extension headers
    ``l4``               offset of the transport header
    ``end``              offset where the packet ends by its own length; beyond is padding
    ``ttl``              time to live, or hop limit
    ``flags``            TCP's flag byte; 0 for others and where it was not quoted
    ``fragment``         this is not a whole datagram (IPv6: an atomic fragment is one)
    ``fragment_offset``  in bytes; a fragment with one has no transport header: no ports, no flags
    ``key``              the connection key; ports 0 for protocols that have none
    """

    __slots__ = (
        "data",
        "end",
        "flags",
        "fragment",
        "fragment_offset",
        "key",
        "l4",
        "protocol",
        "ttl",
        "version",
    )

    def __init__(self) -> None:
        self.data = b""
        self.version = 0
        self.protocol = 0
        self.l4 = 0
        self.end = 0
        self.ttl = 0
        self.flags = 0
        self.fragment = False
        self.fragment_offset = 0
        self.key = b""

    def load(  # noqa: C901, PLR0912 - one pass, as calls cost: 0.4 us a packet (bench/packet.py)
        self, data: bytes, *, quoted: bool = False
    ) -> Fault | None:
        """Look at other bytes from now on; return what is wrong with them, or None.

        Raises nothing, for any bytes. After a fault the view is still on the packet before.
        ``quoted``: this is the inside of an ICMP error. It may end after 8 bytes of the transport
        header; ``end`` is then where the bytes end.

        IPv4: RFC 791, section 3.1. IPv6: RFC 8200. A routing header is stepped over: the
        destination is the one in the IPv6 header.
        """
        length = len(data)
        if length < 20:
            return Fault.TRUNCATED
        version = data[0] >> 4
        fragment = False
        offset = 0
        if version == 4:
            first, end, fragmentation, ttl, protocol, addresses = _IPV4(data)
            l4 = (first & 0x0F) << 2
            if l4 < 20:
                return Fault.BAD_HEADER_LENGTH
            if end < l4:
                return Fault.BAD_LENGTH
            if fragmentation & 0x3FFF:
                fragment = True
                offset = (fragmentation & 0x1FFF) << 3
        elif version == 6:
            if length < 40:
                return Fault.TRUNCATED
            end, protocol, ttl, addresses = _IPV6(data)
            end += 40
            l4 = 40
            if protocol in EXTENSIONS:
                walked = _walk(data, protocol, min(end, length))
                if isinstance(walked, Fault):
                    return walked
                protocol, l4, fragment, offset = walked
        else:
            return Fault.BAD_VERSION
        if end > length:
            if not quoted or l4 > length:
                return Fault.TRUNCATED
            end = length
        flags = 0
        if offset:
            ports = _NO_PORTS
        elif protocol == TCP and not quoted:
            if end - l4 < 20:
                return Fault.TRUNCATED
            ports, data_offset, flags = _TCP(data, l4)
            if not 20 <= (data_offset >> 4) << 2 <= end - l4:
                return Fault.BAD_HEADER_LENGTH
        else:
            fault = _transport_fault(data, protocol, l4, end, whole=not (quoted or fragment))
            if fault and not (quoted and end - l4 >= QUOTED_BYTES):
                return fault
            ports = data[l4 : l4 + 4] if protocol in PORTED else _NO_PORTS
            if protocol == TCP and end - l4 > 13:
                flags = data[l4 + 13]
        self.data = data
        self.version = version
        self.protocol = protocol
        self.l4 = l4
        self.end = end
        self.ttl = ttl
        self.flags = flags
        self.fragment = fragment
        self.fragment_offset = offset
        self.key = _BYTE[protocol] + addresses + ports
        return None

    @property
    def source(self) -> bytes:
        """The source address, packed."""
        return self.key[1 : len(self.key) - 3 >> 1]

    @property
    def destination(self) -> bytes:
        """The destination address, packed."""
        return self.key[len(self.key) - 3 >> 1 : -4]

    @property
    def source_port(self) -> int:
        """The source port; 0 for a protocol without ports."""
        return int.from_bytes(self.key[-4:-2], "big")

    @property
    def destination_port(self) -> int:
        """The destination port; 0 for a protocol without ports."""
        return int.from_bytes(self.key[-2:], "big")

    @property
    def dont_fragment(self) -> bool:
        """Whether no router on the way may cut this packet up. Of IPv6 none may."""
        return self.version == 6 or (self.version == 4 and bool(self.data[6] & 0x40))

    @property
    def icmp_type(self) -> int:
        """The type of an ICMP or ICMPv6 message; -1 if this is none."""
        return self.data[self.l4] if self._has_icmp else -1

    @property
    def icmp_code(self) -> int:
        """The code of an ICMP or ICMPv6 message; -1 if this is none."""
        return self.data[self.l4 + 1] if self._has_icmp else -1

    @property
    def chunk(self) -> int:
        """The SCTP chunk that a state machine goes by; -1 if there is none.

        It is the first; but an ABORT right behind a COOKIE ECHO or COOKIE ACK tells more than
        they do (set_sctp_state).
        """
        at = self.l4 + 12
        if self.protocol != SCTP or self.fragment_offset or at + 4 > self.end:
            return -1
        chunk = self.data[at]
        if chunk in {Chunk.COOKIE_ECHO, Chunk.COOKIE_ACK}:
            (length,) = _U16(self.data, at + 2)
            behind = at + (length + 3 & ~3)
            if length >= 4 and behind + 4 <= self.end and self.data[behind] == Chunk.ABORT:
                return Chunk.ABORT
        return chunk

    @property
    def _has_icmp(self) -> bool:
        return self.protocol in {ICMP, ICMPV6} and not self.fragment_offset


def key(
    protocol: int, source: bytes, source_port: int, destination: bytes, destination_port: int
) -> bytes:
    """Return the key that a packet with these ends has: 13 bytes for IPv4, 37 for IPv6."""
    return _BYTE[protocol] + source + destination + PORTS.pack(source_port, destination_port)


def split_key(connection_key: bytes) -> tuple[Endpoint, Endpoint]:
    """Return (source, destination) of a key."""
    half = len(connection_key) - 3 >> 1
    source_port, destination_port = PORTS.unpack(connection_key[-4:])
    return (
        (connection_key[1:half], source_port),
        (connection_key[half:-4], destination_port),
    )


def reversed_key(connection_key: bytes) -> bytes:
    """Return the key of packets the other way round."""
    half = len(connection_key) - 3 >> 1
    return b"".join(
        (
            connection_key[:1],
            connection_key[half:-4],
            connection_key[1:half],
            connection_key[-2:],
            connection_key[-4:-2],
        )
    )


def _walk(data: bytes, protocol: int, end: int) -> tuple[int, int, bool, int] | Fault:
    """Step over IPv6 extension headers; return (protocol, l4, fragment, fragment offset).

    Behind the header of a fragment that is not the first there is no header to step over. The
    last header may lie about its length: that ``l4`` is within the packet is for the caller to see.
    """
    l4 = 40
    fragment = False
    offset = 0
    for _ in range(MAX_EXTENSIONS):
        if protocol not in EXTENSIONS or offset:
            return protocol, l4, fragment, offset
        if l4 + 8 > end:
            return Fault.TRUNCATED
        here, protocol = protocol, data[l4]
        if here == FRAGMENT:
            (fragmentation,) = _U16(data, l4 + 2)
            offset = fragmentation & 0xFFF8
            fragment = bool(fragmentation & 0xFFF9)
            l4 += 8
        elif here == AUTHENTICATION:
            l4 += (data[l4 + 1] + 2) << 2
        else:
            l4 += (data[l4 + 1] + 1) << 3
    if protocol in EXTENSIONS and not offset:
        return Fault.TOO_MANY_HEADERS
    return protocol, l4, fragment, offset


def _transport_fault(data: bytes, protocol: int, l4: int, end: int, *, whole: bool) -> Fault | None:
    """Return what is wrong with a transport header.

    UDP counts its own length (RFC 768), which must not reach past the datagram, if that is whole;
    it may end before. Length 0 is a jumbogram's (RFC 2675), and those do not pass here.
    """
    room = end - l4
    if room < LEAST_BYTES.get(protocol, 0):
        return Fault.TRUNCATED
    if protocol == UDP:
        (length,) = _U16(data, l4 + 4)
        if length < 8 or (whole and length > room):
            return Fault.BAD_LENGTH
    return None
