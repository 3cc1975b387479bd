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

_GLOBAL: Final = 0  # RT_SCOPE_UNIVERSE
_NEWADDR: Final = 20
_DELADDR: Final = 21
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD: Final = 0x02


def add_by(link: Link, index: int, address: bytes) -> None:
    """Put an address on the interface of this index as /32 or /128, to be used at once.

    By an open conversation. Raise OSError.
    """
    link.do(_request(_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address))


def delete(interface: str, address: bytes) -> None:
    """Take an address that `add_by` put there off an interface. Raise OSError."""
    request = _request(_DELADDR, 0, links.index_of(interface), address)
    with linked(NETLINK_ROUTE) as link:
        link.do(request)


def _request(kind: int, flags: int, index: int, address: bytes) -> Message:
    family, skip = (socket.AF_INET, 0) if len(address) == 4 else (socket.AF_INET6, _IFA_F_NODAD)
    header = _IFADDRMSG.pack(family, 8 * len(address), skip, _GLOBAL, index)
    return Message(
        kind, flags, header + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    )
