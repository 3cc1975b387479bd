"""Wait for the route by which the kernel takes packets to an IPv6 address of its own.

A new address is there as soon as netlink says so, and programs can bind to it. The route that has
packets to it delivered comes later, from a worker (addrconf_dad_work in addrconf.c), also where no
duplicates are looked for. A packet that is faster is answered with "no route".
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from lvsd.io.netlink import NETLINK_ROUTE, linked
from lvsd.io.routes import RTN_LOCAL, entry_kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.io.netlink import Link

PATIENCE_S: Final = 1.0

_PAUSE_S: Final = 0.0005


def wait_until_local(address: bytes, patience_s: float = PATIENCE_S) -> bool:
    """Return True once packets to an address are delivered here, False if that takes too long.

    That is at once for IPv4, and never on an interface that is down. Raise OSError without
    netlink.
    """
    return not wait_until_all_local([address], patience_s)


def wait_until_all_local(addresses: Iterable[bytes], patience_s: float = PATIENCE_S) -> list[bytes]:
    """Wait until packets to all these addresses are delivered here; return those that are not.

    Patience ends when so long not one more has become local. Raise OSError without netlink.
    """
    left = list(addresses)
    end = monotonic() + patience_s
    with linked(NETLINK_ROUTE) as link:
        while still := _not_local(link, left):
            if len(still) < len(left):
                end = monotonic() + patience_s
            elif monotonic() >= end:
                return still
            left = still
            sleep(_PAUSE_S)
    return []


def _not_local(link: Link, addresses: list[bytes]) -> list[bytes]:
    kinds = entry_kinds(link, addresses)
    return [each for each, kind in zip(addresses, kinds, strict=True) if kind != RTN_LOCAL]
