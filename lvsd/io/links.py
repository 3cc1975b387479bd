"""What network interfaces are like, over netlink; for the daemon, see `lvsd.net.links`."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, NamedTuple

from lvsd.io.netlink import (
    NETLINK_ROUTE,
    Message,
    attributes,
    linked,
    string,
)

_GETLINK: Final = 18

_IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ANY: Final = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
_ARPHRD_ETHER: Final = 1
_IFF_UP: Final = 0x01
_IFF_LOOPBACK: Final = 0x08
_IFF_NOARP: Final = 0x80
_IFF_LOWER_UP: Final = 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3


class LinkState(NamedTuple):
    """What matters of an interface to whoever announces an address on it."""

    interface: int
    """Its index."""
    is_running: bool
    """It is up and has a carrier."""
    mac: bytes
    """Its own; empty where nobody is told of it: no Ethernet, or nothing that asks by ARP."""


def state(name: str) -> LinkState | None:
    """Return what an interface is like now, None without it. Raise OSError."""
    try:
        answer = _answer(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _, kind, index, flags, _ = _IFINFOMSG.unpack_from(answer.body)
    mac = attributes(answer.body, _IFINFOMSG.size).get(_IFLA_ADDRESS, b"")
    told = kind == _ARPHRD_ETHER and not flags & (_IFF_LOOPBACK | _IFF_NOARP)
    running = flags & _IFF_UP and flags & _IFF_LOWER_UP
    return LinkState(index, bool(running), mac if told else b"")


def index_of(name: str) -> int:
    """Return the index of an interface. Raise OSError, ENODEV without it.

    if_nametoindex(3) says that there is none also when it finds no descriptor to ask with.
    """
    return int(_IFINFOMSG.unpack_from(_answer(name).body)[2])


def name_of(index: int) -> str | None:
    """Return what the interface of an index is called now; None where it cannot be found."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None


def is_up(name: str) -> bool:
    """Return whether an interface is up. Raise OSError."""
    return bool(_IFINFOMSG.unpack_from(_answer(name).body)[3] & _IFF_UP)


def _answer(name: str) -> Message:
    with linked(NETLINK_ROUTE) as link:
        return link.get(Message(_GETLINK, 0, _ANY + string(_IFLA_IFNAME, name)))
