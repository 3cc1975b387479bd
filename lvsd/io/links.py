"""Make network interfaces of a kind, bring them up, remove them, over netlink."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, NamedTuple

from lvsd.io.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    linked,
    nested,
    string,
)

_NEWLINK: Final = 16
_DELLINK: Final = 17
_GETLINK: Final = 18

_IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ARPHRD_ETHER: Final = 1
_IFF_UP: Final = 0x01
_IFF_LOOPBACK: Final = 0x08
_IFF_NOARP: Final = 0x80
_IFF_LOWER_UP: Final = 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO = 1, 3, 18
_INFO_KIND, _INFO_DATA = 1, 2


def add(name: str, kind: str, *data: bytes) -> None:
    """Make an interface, down; ``data`` are the attributes of its kind.

    Raise OSError: EEXIST when the name, or what it would receive, is another's; EOPNOTSUPP when
    the kernel has no such kind, nor a module for it.
    """
    info = [string(_INFO_KIND, kind)]
    if data:
        info.append(nested(_INFO_DATA, *data))
    body = _header(0) + string(_IFLA_IFNAME, name) + nested(_IFLA_LINKINFO, *info)
    with linked(NETLINK_ROUTE) as link:
        link.do(Message(_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body))


def bring_up(name: str) -> None:
    """Bring an interface up. Raise OSError."""
    _set_flags(name, _IFF_UP)


def take_down(name: str) -> None:
    """Take an interface down. Raise OSError."""
    _set_flags(name, 0)


def _set_flags(name: str, flags: int) -> None:
    body = _header(index_of(name), flags=flags, change=_IFF_UP)
    with linked(NETLINK_ROUTE) as link:
        link.do(Message(_NEWLINK, 0, body))


def delete(name: str) -> None:
    """Remove an interface. Raise OSError, such as ENODEV."""
    with linked(NETLINK_ROUTE) as link:
        link.do(Message(_DELLINK, 0, _header(0) + string(_IFLA_IFNAME, name)))


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


def kind_of(name: str) -> str | None:
    """Return the kind of an interface, ``""`` for a device of no kind; None without it.

    Raise OSError.
    """
    try:
        answer = _answer(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    info = attributes(attributes(answer.body, _IFINFOMSG.size).get(_IFLA_LINKINFO, b""), 0)
    return info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")


def is_up(name: str) -> bool:
    """Return whether an interface is up. Raise OSError."""
    return bool(_flags(name) & _IFF_UP)


def speaks_arp(name: str) -> bool:
    """Return whether an interface asks and answers by ARP. Raise OSError."""
    return not _flags(name) & (_IFF_LOOPBACK | _IFF_NOARP)


def flag(kind: int) -> bytes:
    """Return an attribute of a kind of device that says yes by being there."""
    return attribute(kind, b"")


def value(kind: int, content: bytes) -> bytes:
    """Return an attribute of a kind of device."""
    return attribute(kind, content)


def _flags(name: str) -> int:
    return int(_IFINFOMSG.unpack_from(_answer(name).body)[3])


def _answer(name: str) -> Message:
    with linked(NETLINK_ROUTE) as link:
        return link.get(Message(_GETLINK, 0, _header(0) + string(_IFLA_IFNAME, name)))


def _header(index: int, *, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flags, change)
