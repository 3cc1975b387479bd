"""Wait for the route by which the kernel takes packets to an IPv6 address of its own.

A new address is there as soon as netlink says so, and programs can bind to it. The route that has
packets to it delivered comes later, from a worker (addrconf_dad_work in addrconf.c), also where no
duplicates are looked for. A packet that is faster is answered with "no route".
"""

from __future__ import annotations

import socket
import struct
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from lvsd.io.netlink import NETLINK_ROUTE, Message, attribute, linked

if TYPE_CHECKING:
    from lvsd.io.netlink import Link

PATIENCE_S: Final = 1.0

_PAUSE_S: Final = 0.0005
_GETROUTE: Final = 26
_RTMSG: Final = struct.Struct("=8BI")  # family, dst, src, tos, table, protocol, scope, type, flags
_RTA_DST: Final = 1
_RTM_F_FIB_MATCH: Final = 0x2000
_RTN_LOCAL: Final = 2


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
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    try:
        answer = link.get(Message(_GETROUTE, 0, header + attribute(_RTA_DST, address)))
    except OSError:  # there is no route at all
        return False
    return bool(_RTMSG.unpack_from(answer.body)[7] == _RTN_LOCAL)
