"""Which tunnels end here: what is carried, and over which IP version."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.realserver.decapsulation import Carrier

if TYPE_CHECKING:
    from lvsd.realserver.settings import Settings

_NAMES: Final = {Carrier.IPV4: "IPv4", Carrier.IPV6: "IPv6", Carrier.GRE: "GRE", Carrier.GUE: "GUE"}


class TunnelEnd(NamedTuple):
    """One kind of tunnelled packet, which one socket or device receives."""

    carrier: Carrier
    family: socket.AddressFamily
    """Of the outer header."""

    def __str__(self) -> str:
        return f"{_NAMES[self.carrier]} in {'IPv4' if self.family == socket.AF_INET else 'IPv6'}"


def ends(settings: Settings) -> list[TunnelEnd]:
    """Return the ends that a real server needs.

    Over both IP versions, or those of the directors if these are named; with IP in IP, only of
    the versions of the virtual addresses.
    """
    if settings.mode != "tun":
        return []
    inner = {len(vip) for vip in settings.vips}
    carriers = {
        "ipip": [
            *([Carrier.IPV4] if 4 in inner else []),
            *([Carrier.IPV6] if 16 in inner else []),
        ],
        "gre": [Carrier.GRE],
        "gue": [Carrier.GUE],
    }[settings.tunnel]
    families = [socket.AF_INET, *([socket.AF_INET6] if _has_ipv6() else [])]
    if settings.directors:
        named = {len(director) for director in settings.directors}
        families = [
            family for family in families if (4 if family == socket.AF_INET else 16) in named
        ]
    return [TunnelEnd(carrier, family) for carrier in carriers for family in families]


def _has_ipv6() -> bool:
    """Return whether this kernel speaks IPv6."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return False
        raise
    return True
