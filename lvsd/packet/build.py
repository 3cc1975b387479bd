"""Packets made from nothing: IP headers, segments of TCP, UDP and SCTP, messages of ICMP.

All are of one family by the length of the packed addresses, and complete, checksums included. They
are for whoever sends something of its own: refusals, errors, questions to neighbours and hosts, and
the packets of explanations. What passes through is not built but rewritten (`lvsd.packet.rewrite`,
`lvsd.packet.exchange`). Lengths are not checked: a packet is 65,535 bytes long at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import checksum, crc32c, transport_checksum
from lvsd.packet.layout import (
    BY_WIDTH,
    CHECKSUM_AT,
    DONT_FRAGMENT,
    ICMP_CHECKSUM,
    ICMP_HEADER,
    IPV4,
    IPV4_CHECKSUM,
    SCTP_CHECKSUM,
    SCTP_HEADER,
    TCP_HEADER,
    UDP_HEADER,
)
from lvsd.packet.numbers import ICMP, TCP, UDP, TcpFlag

if TYPE_CHECKING:
    from lvsd.packet.view import Endpoint

TTL: Final = 64
"""The TTL, or hop limit, that hosts commonly begin with (RFC 1700)."""


def ip_packet(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = TTL,
    dsfield: int = 0,
    flow_label: int = 0,
    identification: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """Return a packet without options or extension headers.

    ``flow_label`` is for IPv6 alone, ``identification`` and ``dont_fragment`` for IPv4.
    """
    layout = BY_WIDTH[len(source)]
    length = layout.length - layout.uncounted + len(payload)
    if layout is not IPV4:
        first = layout.first | dsfield << 20 | flow_label
        return layout.header.pack(first, length, protocol, ttl, source, destination) + payload
    fragmentation = DONT_FRAGMENT if dont_fragment else 0
    header = bytearray(
        layout.header.pack(
            layout.first,
            dsfield,
            length,
            identification,
            fragmentation,
            ttl,
            protocol,
            0,
            source,
            destination,
        )
    )
    seal_header(header)
    return bytes(header) + payload


def seal_header(header: bytearray) -> None:
    """Write the checksum into an IPv4 header, options included, whatever is there."""
    header[IPV4_CHECKSUM : IPV4_CHECKSUM + 2] = bytes(2)
    header[IPV4_CHECKSUM : IPV4_CHECKSUM + 2] = checksum(header).to_bytes(2, "big")


def tcp_segment(
    source: Endpoint,
    destination: Endpoint,
    flags: int,
    seq: int,
    ack: int = 0,
    *,
    window: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """Return a segment of TCP; ``options`` are a multiple of 4 bytes long, 40 at most."""
    offset = TCP_HEADER.size + len(options) << 2
    header = TCP_HEADER.pack(source[1], destination[1], seq, ack, offset, flags, window, 0, 0)
    return seal(header + options + payload, TCP, source[0], destination[0])


def udp_datagram(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """Return a datagram of UDP."""
    length = UDP_HEADER.size + len(payload)
    header = UDP_HEADER.pack(source[1], destination[1], length, 0)
    return seal(header + payload, UDP, source[0], destination[0])


def sctp_packet(source_port: int, destination_port: int, tag: bytes, chunks: bytes) -> bytes:
    """Return a packet of SCTP with this verification tag, 4 bytes."""
    header = SCTP_HEADER.pack(source_port, destination_port, tag, bytes(4))
    return header[:SCTP_CHECKSUM] + crc32c(header + chunks) + chunks


def icmp_message(kind: int, code: int, rest: int, body: bytes) -> bytes:
    """Return a message of ICMP; ``rest`` is what its type has in bytes 4 to 8."""
    return seal(ICMP_HEADER.pack(kind, code, 0, rest) + body, ICMP)


def icmpv6_message(kind: int, code: int, rest: int, body: bytes) -> bytes:
    """Return a message of ICMPv6 with the checksum 0, for a kernel or `seal` to fill in."""
    return ICMP_HEADER.pack(kind, code, 0, rest) + body


def seal(segment: bytes, protocol: int, source: bytes = b"", destination: bytes = b"") -> bytes:
    """Return a segment with its checksum, where it has zeros; any protocol but SCTP.

    ICMP's checksum does not cover the addresses. UDP's is never 0, which would say that there is
    none (RFC 768).
    """
    value = transport_checksum(segment, protocol, source, destination)
    if protocol == UDP:
        value = value or 0xFFFF
    at = ICMP_CHECKSUM if protocol == ICMP else CHECKSUM_AT[protocol]
    return segment[:at] + value.to_bytes(2, "big") + segment[at + 2 :]


def reset(source: Endpoint, destination: Endpoint, seq: int, ack: int | None = None) -> bytes:
    """Return a RST with this sequence number, and with an acknowledgement if one is given."""
    flags = TcpFlag.RST if ack is None else TcpFlag.RST | TcpFlag.ACK
    segment = tcp_segment(source, destination, flags, seq, ack or 0)
    return ip_packet(source[0], destination[0], TCP, segment)
