"""Checksums: the Internet's, whole and by difference, and SCTP's.

The Internet checksum is the complement of a one's complement sum of 16-bit words (RFC 1071). That
sum is arithmetic modulo 0xFFFF, in which 2**16 is 1; so a buffer, taken as one long number and
divided by 0xFFFF, leaves its sum. Of the two zeros of one's complement, 0 is the sum of zeros
only, and every other multiple is 0xFFFF.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import google_crc32c

from lvsd.packet.numbers import ICMP

MODULUS: Final = 0xFFFF
"""What sums of 16-bit words are taken by."""

_LITTLE_ENDIAN: Final = Struct("<I").pack


def checksum(data: bytes | bytearray, carry: int = 0) -> int:
    """Return the Internet checksum of some bytes, 0 to 0xFFFF, ready to be stored.

    An odd last byte counts as if a zero followed. ``carry`` is a sum to begin with, such as a
    `pseudo_header`'s. Over bytes that hold their own right checksum the result is 0.
    """
    total = int.from_bytes(data, "big") << (len(data) % 2 * 8)
    total += carry
    return 0xFFFF - (total % 0xFFFF or 0xFFFF) if total else 0xFFFF


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Return the sum over the pseudo header, to be handed to `checksum`.

    The fields of IPv4's (RFC 9293, section 3.1) and IPv6's (RFC 8200, section 8.1) lie
    differently, yet sum up alike. ``length`` is the transport header's and payload's, in bytes.
    """
    return int.from_bytes(source + destination, "big") + protocol + length


def transport_checksum(
    segment: bytes | bytearray, protocol: int, source: bytes, destination: bytes
) -> int:
    """Return the Internet checksum of a transport header and what follows it.

    Over a segment that holds its own right checksum it is 0. The addresses go into it for all
    protocols but ICMP.
    """
    if protocol == ICMP:
        return checksum(segment)
    return checksum(segment, pseudo_header(source, destination, protocol, len(segment)))


def delta(old: bytes, new: bytes) -> int:
    """Return what a change of some 16-bit words does to a checksum: the sum of ~m + m'.

    Both of the same, even length. From 1 to 0xFFFF; 0xFFFF means no change. Deltas may be added
    (`combine`) and are good for every packet in which the same words change.
    """
    return (int.from_bytes(new, "big") - int.from_bytes(old, "big")) % 0xFFFF or 0xFFFF


def combine(*deltas: int) -> int:
    """Return the delta of several changes together."""
    return sum(deltas) % 0xFFFF or 0xFFFF


def apply(value: int, change: int) -> int:
    """Return a checksum after a change: HC' = ~(~HC + ~m + m'), RFC 1624 eq. 3.

    A wrong checksum stays wrong, so damage on the way here is still found by the receiver.
    """
    total = (value ^ 0xFFFF) + change
    return 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))


def apply_udp(value: int, change: int) -> int:
    """Return a UDP checksum after a change.

    0 means that the sender computed none, and stays (RFC 768; RFC 6935 for IPv6). One that comes
    out as 0 is sent as 0xFFFF.
    """
    return value and (apply(value, change) or 0xFFFF)


def crc32c(segment: bytes) -> bytes:
    """Return the checksum field of an SCTP packet, whose own field must be zeros.

    CRC32c, sent least significant byte first (RFC 9260, appendix A).
    """
    return _LITTLE_ENDIAN(google_crc32c.value(segment))
