"""What this host speaks from, where a route does not say, as the kernel chooses.

IPv4: inet_select_addr, an address of the interface in the gateway's network, else its first. IPv6:
ipv6_dev_get_saddr (RFC 6724): an address of a scope that suits, preferred, of the interface, with
the same label, with the longest common prefix. Labels (`ip addrlabel`) are not known here: they
are taken to be the same for all addresses of one network.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from lvsd.net.addresses import LINK
from lvsd.net.fib import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lvsd.net.addresses import Address

CHOICE: Final = Unknown("which of several source addresses is up to more than is known here")

_TEMPORARY: Final = 0x01
_OPTIMISTIC: Final = 0x04
_SITE_LOCAL: Final = (0xFEC0, 10)


class Sources:
    """The addresses of this host, by interface, in the kernel's order."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._v4: dict[int, list[Address]] = defaultdict(list)
        self._v6: list[Address] = []
        for each in addresses:
            if len(each.address) == 4:
                if not each.is_secondary:
                    self._v4[each.interface].append(each)
            else:
                self._v6.append(each)

    def ipv4(self, interface: int, gateway: bytes | None, scope: int) -> bytes | Unknown | None:
        """Return the source of a route of a scope; None: this host has no address for it."""
        own = [each for each in self._v4.get(interface, ()) if each.scope <= scope]
        if len(own) > 1 and gateway is not None and len(gateway) == 4:
            near = [each for each in own if _shared_bits(each, gateway) >= each.prefix_length]
            own = near or own
        elif len(own) > 1 and gateway is not None:
            return CHOICE
        if own:
            return own[0].address
        others = [
            found[0].address
            for each in self._v4.values()
            if (found := [a for a in each if a.scope != LINK and a.scope <= scope])
        ]
        return CHOICE if len(others) > 1 else next(iter(others), None)

    def ipv6(self, interface: int, address: bytes) -> bytes | Unknown | None:
        """Return the source of packets to a global address; None: this host has none for it."""
        usable = [each for each in self._v6 if not each.is_tentative]
        if any(each.address == address for each in usable):
            return address
        if any(each.flags & _OPTIMISTIC or _is_in(each, _SITE_LOCAL) for each in usable):
            return CHOICE
        wide = [each for each in usable if each.scope < LINK]
        if not wide:
            near = [each for each in usable if each.interface == interface and each.scope == LINK]
            return CHOICE if len(near) > 1 or not near else near[0].address
        wide = [each for each in wide if not each.is_deprecated] or wide
        wide = [each for each in wide if each.interface == interface] or wide
        return _closest(wide, address)


def _closest(candidates: Sequence[Address], address: bytes) -> bytes | Unknown:
    first = candidates[0]
    if len(candidates) == 1:
        return first.address
    for each in candidates:
        same = each.interface == first.interface and each.prefix_length == first.prefix_length
        if not same or _shared_bits(each, first.address) < first.prefix_length:
            return CHOICE
        if each.flags & _TEMPORARY:
            return CHOICE
    # The first of the best: so the kernel takes another one only if it is better.
    best = max(min(_shared_bits(each, address), each.prefix_length) for each in candidates)
    return next(
        each.address
        for each in candidates
        if min(_shared_bits(each, address), each.prefix_length) == best
    )


def _shared_bits(own: Address, other: bytes) -> int:
    """Return how many bits two addresses have in common at their beginning."""
    bits = 8 * len(own.address)
    difference = int.from_bytes(own.address, "big") ^ int.from_bytes(other, "big")
    return bits - difference.bit_length()


def _is_in(each: Address, prefix: tuple[int, int]) -> bool:
    value, length = prefix
    return int.from_bytes(each.address[:2], "big") >> 16 - length == value >> 16 - length
