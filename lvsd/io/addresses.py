"""Put addresses on interfaces and take them off, over netlink."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from lvsd.io import links
from lvsd.io.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    linked,
)

if TYPE_CHECKING:
    from lvsd.io.netlink import Link

GLOBAL: Final = 0
HOST: Final = 254
"""Scopes (rtnetlink(7)): an address of scope host is never used to speak to others."""

_NEWADDR: Final = 20
_DELADDR: Final = 21
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD: Final = 0x02


def add(interface: str, address: bytes, scope: int = GLOBAL) -> None:
    """Put an address on an interface as /32 or /128, to be used at once. Raise OSError."""
    _change(_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, interface, address, scope)


def add_by(link: Link, index: int, address: bytes) -> None:
    """Do as `add` does, to the interface of this index, by an open conversation. Raise OSError."""
    link.do(_request(_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, GLOBAL))


def delete(interface: str, address: bytes) -> None:
    """Take an address that `add` put there off an interface. Raise OSError."""
    _change(_DELADDR, 0, interface, address, GLOBAL)


def _change(kind: int, flags: int, interface: str, address: bytes, scope: int) -> None:
    request = _request(kind, flags, links.index_of(interface), address, scope)
    with linked(NETLINK_ROUTE) as link:
        link.do(request)


def _request(kind: int, flags: int, index: int, address: bytes, scope: int) -> Message:
    family, skip = (socket.AF_INET, 0) if len(address) == 4 else (socket.AF_INET6, _IFA_F_NODAD)
    header = _IFADDRMSG.pack(family, 8 * len(address), skip, scope, index)
    return Message(
        kind, flags, header + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    )
