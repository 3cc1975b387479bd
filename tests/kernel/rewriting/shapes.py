"""Packets of other shapes: options, extension headers, fragments, other checksums, ICMP errors.

Each takes whole packets as `tests.kernel.packets` makes them, and returns others; checksums are
right again where not said otherwise.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP, checksum, ip, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS = 0, 43, 44, 60

CHECKSUM_AT = {TCP: 16, UDP: 6, SCTP: 8, ICMP: 2, ICMPV6: 2}
"""Where in its header each protocol keeps its checksum; SCTP's has 4 bytes, the others' 2."""

MORE = 0x2000
"""IPv4's bit for more fragments."""

_IPV6_BYTES = 40
_CHECKSUM = slice(10, 12)


def version(data: bytes) -> int:
    """Return 4 or 6."""
    return data[0] >> 4


def protocol(data: bytes) -> int:
    """Return what follows the IP header; of IPv6 that may be an extension header."""
    return data[9] if version(data) == 4 else data[6]


def ttl(data: bytes) -> int:
    """Return the TTL or hop limit."""
    return data[8] if version(data) == 4 else data[7]


def source(data: bytes) -> bytes:
    """Return the packed source address."""
    return data[12:16] if version(data) == 4 else data[8:24]


def destination(data: bytes) -> bytes:
    """Return the packed destination address."""
    return data[16:20] if version(data) == 4 else data[24:40]


def header_bytes(data: bytes) -> int:
    """Return the length of the IP header, without extension headers."""
    return (data[0] & 0x0F) << 2 if version(data) == 4 else _IPV6_BYTES


def refreshed(data: bytes) -> bytes:
    """Return a packet whose lengths and IP header checksum are those of its bytes."""
    out = bytearray(data)
    if version(data) == 6:
        out[4:6] = (len(out) - _IPV6_BYTES).to_bytes(2)
        return bytes(out)
    out[2:4] = len(out).to_bytes(2)
    out[_CHECKSUM] = bytes(2)
    out[_CHECKSUM] = checksum(bytes(out[: header_bytes(data)])).to_bytes(2)
    return bytes(out)


def with_bytes(data: bytes, at: int, value: bytes) -> bytes:
    """Return a packet with other bytes at an offset."""
    return data[:at] + value + data[at + len(value) :]


def with_dsfield(data: bytes, dsfield: int) -> bytes:
    """Return a packet with another DS field, the two bits of ECN included."""
    if version(data) == 4:
        return refreshed(with_bytes(data, 1, bytes((dsfield,))))
    word = int.from_bytes(data[:4]) & ~(0xFF << 20) | dsfield << 20
    return word.to_bytes(4) + data[4:]


def with_flow_label(data: bytes, label: int) -> bytes:
    """Return an IPv6 packet with another flow label."""
    return (int.from_bytes(data[:4]) & ~0xFFFFF | label).to_bytes(4) + data[4:]


def with_identification(data: bytes, number: int) -> bytes:
    """Return an IPv4 packet with another identification."""
    return refreshed(with_bytes(data, 4, number.to_bytes(2)))


def with_options(data: bytes, options: bytes) -> bytes:
    """Return an IPv4 packet with options, which are a multiple of 4 bytes."""
    words = 5 + len(options) // 4
    return refreshed(bytes((0x40 | words,)) + data[1:20] + options + data[20:])


def with_extensions(data: bytes, *extensions: tuple[int, bytes]) -> bytes:
    """Return an IPv6 packet with extension headers before what it has: kinds, and their bytes.

    The first byte of each, what follows it, is filled in.
    """
    following = data[6]
    headers = b""
    for kind, header in reversed(extensions):
        headers = bytes((following,)) + header[1:] + headers
        following = kind
    return refreshed(data[:6] + bytes((following,)) + data[7:_IPV6_BYTES] + headers + data[40:])


def extension(content: bytes) -> bytes:
    """Return an extension header with this content, which is 6 bytes or 8 more, and so on."""
    return bytes((0, (len(content) + 2) // 8 - 1)) + content


def with_transport_checksum(data: bytes, value: bytes) -> bytes:
    """Return a packet without options or extensions whose transport checksum is another."""
    return with_bytes(data, header_bytes(data) + CHECKSUM_AT[protocol(data)], value)


def transport_checksum(data: bytes) -> int:
    """Return the 16 bits of a transport checksum of a packet without options or extensions."""
    at = header_bytes(data) + CHECKSUM_AT[protocol(data)]
    return int.from_bytes(data[at : at + 2])


# --- fragments ------------------------------------------------------------------------------


_numbers = itertools.count(0x4000)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Return a packet without options or extensions as fragments, with a number of their own.

    ``sizes`` are the bytes of payload in each but the last, multiples of 8.
    """
    number = next(_numbers)
    payload = data[header_bytes(data) :]
    pieces = []
    start = 0
    for size in (*sizes, len(payload)):
        pieces.append(piece(data, start, size, number))
        start += size
    return pieces


def piece(data: bytes, start: int, size: int, number: int) -> bytes:
    """Return the fragment of a packet that has ``size`` bytes of its payload from ``start`` on."""
    header = header_bytes(data)
    payload = data[header : header + start + size][start:]
    more = header + start + size < len(data)
    if version(data) == 4:
        out = bytearray(data[:header] + payload)
        out[4:6] = number.to_bytes(2)
        out[6:8] = (out[6] << 8 & 0xC000 | more * MORE | start >> 3).to_bytes(2)
        return refreshed(bytes(out))
    fields = bytes((data[6], 0)) + (start | more).to_bytes(2) + number.to_bytes(4)
    return refreshed(data[:6] + bytes((FRAGMENT,)) + data[7:header] + fields + payload)


# --- ICMP -----------------------------------------------------------------------------------


def icmp(
    source: str,
    destination: str,
    kind: int,
    code: int,
    rest: bytes,
    quote: bytes,
    *,
    hops: int = 64,
    spoiled: int = 0,
) -> bytes:
    """Return an ICMP or ICMPv6 message; ``rest`` are the 4 bytes before what is quoted.

    ``spoiled`` is added to its checksum.
    """
    message = bytes((kind, code, 0, 0)) + rest + quote
    if ":" in source:
        kind_of_ip = ICMPV6
        sum_over = packed(source) + packed(destination) + len(message).to_bytes(4)
        sum_over += kind_of_ip.to_bytes(4) + message
    else:
        kind_of_ip, sum_over = ICMP, message
    value = (checksum(sum_over) + spoiled) & 0xFFFF
    message = with_bytes(message, 2, value.to_bytes(2))
    return ip(source, destination, kind_of_ip, message, ttl=hops, dont_fragment=False)


def hops_later(data: bytes, hops: int = 1) -> bytes:
    """Return a packet after so many routers."""
    if version(data) == 6:
        return with_bytes(data, 7, bytes((max(0, data[7] - hops),)))
    return refreshed(with_bytes(data, 8, bytes((max(0, data[8] - hops),))))
