"""Wait for the route by which the kernel takes packets to an IPv6 address of its own.

A new address is there as soon as netlink says so, and programs can bind to it. The route that has
packets to it delivered comes later, from a worker (addrconf_dad_work in addrconf.c), also where no
duplicates are looked for. A packet that is faster is answered with "no route".
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from lvsd.io.netlink import NETLINK_ROUTE, linked
from lvsd.io.routes import RTN_LOCAL, look_up

if TYPE_CHECKING:
    from lvsd.io.netlink import Link

PATIENCE_S: Final = 1.0

_PAUSE_S: Final = 0.0005


def wait_until_local(address: bytes, patience_s: float = PATIENCE_S) -> bool:
    """Return True once packets to an address are delivered here, False if that takes too long.

    That is at once for IPv4, and never on an interface that is down. Raise OSError without
    netlink.
    """
    end = monotonic() + patience_s
    with linked(NETLINK_ROUTE) as link:
        while not _is_local(link, address):
            if monotonic() >= end:
                return False
            sleep(_PAUSE_S)
    return True


def _is_local(link: Link, address: bytes) -> bool:
    try:
        return look_up(link, address) == RTN_LOCAL
    except OSError:  # there is no route at all
        return False
