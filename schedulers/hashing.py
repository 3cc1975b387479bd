"""The hashes that the kernel's IPVS and bucket tables are built on, bit for bit."""

from __future__ import annotations

GOLDEN_RATIO = 0x61C88647
"""GOLDEN_RATIO_32 of the kernel's include/linux/hash.h: 2**32 - 2**32 / phi."""

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF

SipKey = tuple[int, int]
"""Two words of 64 bits."""


def fold(address: bytes) -> int:
    """Return a packed address as 32 bits: IPv4 as it is, IPv6 with its four words XORed."""
    value = int.from_bytes(address, "big")
    if len(address) == 4:
        return value
    value ^= value >> 64
    return (value ^ value >> 32) & MASK32


def hash_32(value: int, bits: int) -> int:
    """Return the upper ``bits`` of value times the golden ratio, mod 2**32 (hash_32)."""
    return (value * GOLDEN_RATIO & MASK32) >> (32 - bits)


def hsiphash(value: int, key: SipKey) -> int:
    """Return 32 bits of the SipHash-1-3 of a 32-bit value, little-endian.

    That is what hsiphash of four bytes is on a 64-bit kernel (lib/siphash.c). SipHash: Aumasson
    and Bernstein, "SipHash: a fast short-input PRF", 2012; here with one round per block, three
    at the end. Four bytes are a single block: the value below, the length in the top byte.
    """
    key0, key1 = key
    block = 4 << 56 | value
    a, b, c, d = _round(
        key0 ^ 0x736F6D6570736575,
        key1 ^ 0x646F72616E646F6D,
        key0 ^ 0x6C7967656E657261,
        key1 ^ 0x7465646279746573 ^ block,
    )
    a, b, c, d = _round(a ^ block, b, c ^ 0xFF, d)
    a, b, c, d = _round(a, b, c, d)
    a, b, c, d = _round(a, b, c, d)
    return (a ^ b ^ c ^ d) & MASK32


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    """Mix the four words once: additions mod 2**64, rotations, XORs (SipRound)."""
    a = a + b & MASK64
    b = (b << 13 | b >> 51) & MASK64 ^ a
    a = (a << 32 | a >> 32) & MASK64
    c = c + d & MASK64
    d = (d << 16 | d >> 48) & MASK64 ^ c
    a = a + d & MASK64
    d = (d << 21 | d >> 43) & MASK64 ^ a
    c = c + b & MASK64
    b = (b << 17 | b >> 47) & MASK64 ^ c
    c = (c << 32 | c >> 32) & MASK64
    return a, b, c, d
