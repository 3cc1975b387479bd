"""Packets, quickly: whole ones with all their checksums, for scenarios of many thousands.

Addresses are text, flags TCP's in tcpdump's letters (S, SA, FA, R; empty for none).
"""

from __future__ import annotations

import socket
from functools import cache
from struct import Struct

from google_crc32c import value as _crc32c

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}
WINDOW = 64240

_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_TCP = Struct("!HHIIBBHHH")
_UDP = Struct("!HHHH")
_SCTP = Struct("!HHI")
_DF = 0x4000
_CHECKSUM_AT = {TCP: 16, UDP: 6}


@cache
def packed(address: str) -> bytes:
    """Return an address as it lies in a packet."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def tcp(
    source: str,
    sport: int,
    destination: str,
    dport: int,
    flags: str,
    payload: bytes = b"",
    *,
    seq: int = 1000,
    ack: int = 2000,
    options: bytes = b"",
    ttl: int = 64,
    dont_fragment: bool = True,
) -> bytes:
    """Return a TCP segment; ``options`` are a multiple of 4 bytes."""
    bits = sum(FLAGS[letter] for letter in flags)
    words = 5 + len(options) // 4
    acked = ack if bits & FLAGS["A"] else 0
    header = _TCP.pack(sport, dport, seq, acked, words << 4, bits, WINDOW, 0, 0)
    segment = header + options + payload
    return ip(source, destination, TCP, segment, ttl=ttl, dont_fragment=dont_fragment)


def udp(
    source: str,
    sport: int,
    destination: str,
    dport: int,
    payload: bytes = b"datagram",
    *,
    ttl: int = 64,
    dont_fragment: bool = True,
) -> bytes:
    """Return a UDP datagram."""
    datagram = _UDP.pack(sport, dport, _UDP.size + len(payload), 0) + payload
    return ip(source, destination, UDP, datagram, ttl=ttl, dont_fragment=dont_fragment)


def sctp(
    source: str,
    sport: int,
    destination: str,
    dport: int,
    chunks: bytes,
    *,
    ttl: int = 64,
    dont_fragment: bool = True,
) -> bytes:
    """Return an SCTP packet with these chunks."""
    header = _SCTP.pack(sport, dport, 7)
    crc = _crc32c(header + bytes(4) + chunks).to_bytes(4, "little")
    return ip(
        source, destination, SCTP, header + crc + chunks, ttl=ttl, dont_fragment=dont_fragment
    )


def chunk(kind: int, value: bytes = b"", flags: int = 0) -> bytes:
    """Return a chunk of SCTP, padded."""
    return bytes((kind, flags)) + (4 + len(value)).to_bytes(2) + value + bytes(-len(value) % 4)


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    dont_fragment: bool = True,
    identification: int = 1,
    fragment: int = 0,
) -> bytes:
    """Return an IP packet; the checksum that its payload has over the addresses is filled in.

    ``fragment`` is what stands beside DF in IPv4's header: offset in 8 bytes, more fragments.
    """
    src, dst = packed(source), packed(destination)
    if protocol in _CHECKSUM_AT and not fragment:
        payload = _with_checksum(src, dst, protocol, payload)
    if len(src) == 16:
        return _IPV6.pack(6 << 28, len(payload), protocol, ttl, src, dst) + payload
    total = _IPV4.size + len(payload)
    bits = _DF * dont_fragment | fragment
    header = _IPV4.pack(0x45, 0, total, identification, bits, ttl, protocol, 0, src, dst)
    return header[:10] + checksum(header).to_bytes(2) + header[12:] + payload


def _with_checksum(src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    at = _CHECKSUM_AT[protocol]
    pseudo = src + dst + len(payload).to_bytes(4) + protocol.to_bytes(4)
    value = checksum(pseudo + payload) or (0xFFFF if protocol == UDP else 0)
    return payload[:at] + value.to_bytes(2) + payload[at + 2 :]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071), by long division instead of a sum of words."""
    return 0xFFFF - (int.from_bytes(data + bytes(len(data) % 2)) % 0xFFFF or 0xFFFF * any(data))
