"""Wait for the route by which the kernel takes packets to an IPv6 address of its own.

A new address is there as soon as netlink says so, and programs can bind to it. The route that has
packets to it delivered comes later, from a worker (addrconf_dad_work in addrconf.c), also where no
duplicates are looked for. A packet that is faster is answered with "no route".
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from lvsd.net import ways

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.net.kernel import Kernel

PATIENCE_S: Final = 1.0

_PAUSE_S: Final = 0.0005


def wait_until_local(
    kernel: Kernel, addresses: Iterable[bytes], patience_s: float = PATIENCE_S
) -> list[bytes]:
    """Wait until packets to all these addresses are delivered here; return those that are not.

    That is at once for IPv4, and never on an interface that is down. Patience ends when so long
    not one more has become local. Raise KernelError.
    """
    left = list(addresses)
    end = monotonic() + patience_s
    while still := ways.not_local(kernel, left):
        if len(still) < len(left):
            end = monotonic() + patience_s
        elif monotonic() >= end:
            return still
        left = still
        sleep(_PAUSE_S)
    return []
