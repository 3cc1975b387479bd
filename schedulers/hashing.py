"""The hashes that the kernel's IPVS and bucket tables are built on, bit for bit.

And what a server stands for where a table says whose a hash is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siphash24 import siphash13

from schedulers.base import Weighed
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schedulers.base import Server

GOLDEN_RATIO = 0x61C88647
"""GOLDEN_RATIO_32 of the kernel's include/linux/hash.h: 2**32 - 2**32 / phi."""

MASK32 = 0xFFFFFFFF


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


def hsiphash(value: int, key: bytes) -> int:
    """Return 32 bits of the SipHash-1-3 of a 32-bit value, little-endian; ``key`` is 16 bytes.

    That is what hsiphash of four bytes is on a 64-bit kernel (lib/siphash.c).
    """
    digest = siphash13(value.to_bytes(4, "little"), key=key).intdigest()
    return int(digest & MASK32)


def elsewhere(value: int, bits: int) -> int:
    """Return another bucket than `hash_32` does, which depends on other bits of the hash.

    So those who share a bucket spread, also where servers take turns in the table.
    """
    return hash_32(value, 2 * bits) & (1 << bits) - 1


def next_usable(table: Sequence[Server], begin: int) -> Server | None:
    """Return the first usable server from this bucket on, round the whole table."""
    for server in (*table[begin:], *table[:begin]):
        if server.weight > 0 and not server.overloaded:
            return server
    return None


def fallbacks(table: Sequence[Server], begin: int) -> dict[Server, tuple[int, str]]:
    """Return how many buckets on from this one each server has its first one, in words, too."""
    found: dict[Server, tuple[int, str]] = {}
    for step in range(len(table)):
        place = (begin + step) % len(table)
        found.setdefault(table[place], (step, f"fallback step {step}: bucket {place} is its"))
    return found


def weigh_owner(
    servers: Iterable[Server],
    owner: Server | None,
    place: str,
    fallback: Mapping[Server, tuple[int, str]],
) -> list[Weighed]:
    """Return 0 for the owner of a place in a table ("bucket 17"), nothing for the others.

    An owner that is not usable has no number either; then those have theirs that are in
    ``fallback``, which is: steps, and the text.
    """
    weighed = []
    for server in servers:
        reason = why_not(server)
        if server is owner:
            text = f"{place} is its, but {reason}" if reason else f"{place} is its"
            weighed.append(Weighed(server, None if reason else 0, text))
        elif reason:
            weighed.append(Weighed(server, None, reason))
        else:
            weighed.append(Weighed(server, *fallback.get(server, (None, f"{place} is another's"))))
    return weighed
