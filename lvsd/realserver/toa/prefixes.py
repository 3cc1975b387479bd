"""From whom TOA is believed: addresses and prefixes, between text and the kernel's trie."""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

Prefix: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PREFIXES: Final = 1024
"""What the trie in toa.bpf.c has room for."""

_KEY: Final = struct.Struct("=I16s")  # struct bpf_lpm_trie_key: bits, address
_MAPPED_BITS: Final = 96
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def parse(texts: Iterable[str]) -> frozenset[Prefix]:
    """Return the prefixes of ``10.0.0.5,2001:db8::/120``-like texts; an address is one, too.

    Raise UsageError for what is none, for none at all, for too many, and for /0: whoever is
    believed can name any client.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    found = frozenset(_parse(word) for word in words if word)
    if not found:
        raise UsageError("--from names no address: give the director's local addresses (LIPs)")
    if len(found) > MAX_PREFIXES:
        raise UsageError(f"--from has {len(found)} prefixes, of at most {MAX_PREFIXES}")
    return found


def _parse(word: str) -> Prefix:
    try:
        prefix = ipaddress.ip_network(word)
    except ValueError as error:
        raise UsageError(
            f"--from {word}: not an address, nor a prefix such as 10.0.0.8/29 ({error})"
        ) from None
    if prefix.prefixlen == 0 or (isinstance(prefix, ipaddress.IPv6Network) and prefix in _WIDE):
        raise UsageError(f"--from {word}: every client could name another one; give the LIPs")
    if isinstance(prefix, ipaddress.IPv6Network) and prefix.subnet_of(_MAPPED):
        return ipaddress.ip_network(
            (prefix.network_address.packed[12:], prefix.prefixlen - _MAPPED_BITS)
        )
    return prefix


_WIDE: Final = frozenset(_MAPPED.supernet(new_prefix=bits) for bits in range(_MAPPED_BITS))
"""IPv6 prefixes that would hold all of IPv4, which stands as ::ffff:0:0/96 in the trie."""


def key(prefix: Prefix) -> bytes:
    """Return the prefix as a key of the trie: bits, and the address as IPv6, IPv4 mapped."""
    if isinstance(prefix, ipaddress.IPv4Network):
        mapped = _MAPPED.network_address.packed[:12] + prefix.network_address.packed
        return _KEY.pack(_MAPPED_BITS + prefix.prefixlen, mapped)
    return _KEY.pack(prefix.prefixlen, prefix.network_address.packed)


def from_key(value: bytes) -> Prefix:
    """Return the prefix that a key of the trie stands for."""
    bits, address = _KEY.unpack(value)
    network = ipaddress.IPv6Network((address, bits))
    if network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((address[12:], bits - _MAPPED_BITS))
    return network


def texts(prefixes: Iterable[Prefix]) -> list[str]:
    """Return prefixes as people write them, whole addresses without a length, IPv4 first."""
    ordered = sorted(prefixes, key=key_of_order)
    return [
        str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
        for prefix in ordered
    ]


def key_of_order(prefix: Prefix) -> tuple[int, bytes, int]:
    """Return what puts prefixes in order: version, address, length."""
    return prefix.version, prefix.network_address.packed, prefix.prefixlen
