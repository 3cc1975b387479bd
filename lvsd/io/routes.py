"""Ask the kernel about routes, links and addresses, and be told when they change.

Plain netlink on a blocking socket: the kernel answers at once, a look-up takes some ten
microseconds, and it works within an event loop (see `lvsd.io.netlink`). Addresses are packed,
4 or 16 bytes. Everything is about the network namespace that the process is in.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.errors import KernelError
from lvsd.io.netlink import (
    NETLINK_ROUTE,
    Message,
    attribute,
    attributes,
    linked,
    listen,
    open_socket,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator

    from lvsd.io.netlink import Link

_GETLINK: Final = 18
_GETADDR: Final = 22
_GETROUTE: Final = 26

_IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG: Final = struct.Struct("=8BI")  # family, dst, src, tos, table, protocol, scope, type, flags
_RTNEXTHOP: Final = struct.Struct("=HBBi")  # length, flags, hops, index
_U32: Final = struct.Struct("=I")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_ARPHRD_ETHER: Final = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_VIA = 8, 9, 18
_RTVIA_FAMILY: Final = 2  # bytes before the address in struct rtvia
_RTAX_MTU: Final = 2
_RTM_F_FIB_MATCH: Final = 0x2000
_RTN_UNICAST, RTN_LOCAL = 1, 2

# RTNLGRP_*: links; addresses, routes and rules of both families; nexthop objects. Group n is bit
# n - 1. A kernel without one of the last (nexthop objects: 5.3) takes the others.
_WATCHED_GROUPS: Final = (1, 5, 7, 8, 9, 11, 19, 32)
_GROUPS: Final = sum(1 << group - 1 for group in _WATCHED_GROUPS)
_RECEIVE: Final = 1 << 16
_NO_ROUTE: Final = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES}


class Way(NamedTuple):
    """How a packet leaves the host for an address."""

    interface: int
    """Its index."""
    name: str
    gateway: bytes | None
    """The next router, packed; None: the address itself is on the link."""
    is_ethernet: bool
    mac: bytes
    """The interface's own, the source of frames; empty if it has none."""
    mtu: int
    """Longest packet in bytes, as `route_mtus` has it."""


def link_mtus() -> dict[int, int]:
    """Return interface index -> MTU in bytes. Raise KernelError."""
    try:
        with linked(NETLINK_ROUTE) as link:
            return _link_mtus(link)
    except OSError as error:
        raise _refusal("list the links", error) from error


def local_addresses() -> frozenset[tuple[int, bytes]]:
    """Return (interface index, address) of every address of this host. Raise KernelError."""
    request = Message(_GETADDR, 0, _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    found = set()
    try:
        with linked(NETLINK_ROUTE) as link:
            for answer in link.dump(request):
                index = _IFADDRMSG.unpack_from(answer.body)[4]
                values = attributes(answer.body, _IFADDRMSG.size)
                # On a point-to-point link IFA_ADDRESS is the other end.
                if address := values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS):
                    found.add((index, address))
    except OSError as error:
        raise _refusal("list the addresses", error) from error
    return frozenset(found)


def route_mtus(addresses: Iterable[bytes]) -> dict[bytes, int | None]:
    """Return the longest packet in bytes that may be forwarded to each address; None: no route.

    As the kernel reckons when it forwards (ip_dst_mtu_maybe_forward): the route's own MTU or
    else the device's, never a path MTU learned from ICMP. Of several next hops the least.
    Raise KernelError.
    """
    try:
        with linked(NETLINK_ROUTE) as link:
            mtus = _link_mtus(link)
            return {
                address: _route_mtu(_route(link, address), mtus)
                for address in dict.fromkeys(addresses)
            }
    except OSError as error:
        raise _refusal("look up routes", error) from error


def sources(addresses: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """Return the address that this host sends from to each address; None: no route.

    The route's preferred source, else what the kernel chooses among the interface's addresses
    (RFC 6724 for IPv6). An address of the host itself is its own source. Raise KernelError.
    """
    try:
        with linked(NETLINK_ROUTE) as link:
            found = {each: _route(link, each, 0) for each in dict.fromkeys(addresses)}
    except OSError as error:
        raise _refusal("look up routes", error) from error
    return {each: (route or {}).get(_RTA_PREFSRC) for each, route in found.items()}


def mtus_and_sources(
    addresses: Iterable[bytes],
) -> Iterator[tuple[bytes, int | None, bytes | None]]:
    """Yield each address with what `route_mtus` and `sources` say of it, asked when it is taken.

    Raise KernelError.
    """
    try:
        with linked(NETLINK_ROUTE) as link:
            mtus = _link_mtus(link)
            for address in addresses:
                mtu = _route_mtu(_route(link, address), mtus)
                source = (_route(link, address, 0) or {}).get(_RTA_PREFSRC)
                yield address, mtu, source
    except OSError as error:
        raise _refusal("look up routes", error) from error


def ways(addresses: Iterable[bytes]) -> dict[bytes, Way | None]:
    """Return the interface and the next hop towards each address; None: no route.

    Of several next hops the one that the kernel would take now. Raise KernelError.
    """
    try:
        with linked(NETLINK_ROUTE) as link:
            links = _links(link)
            return {each: _way(link, each, links) for each in dict.fromkeys(addresses)}
    except OSError as error:
        raise _refusal("look up routes", error) from error


class Watch:
    """Calls ``callback`` after links, addresses, routes, `ip rule` or nexthop objects changed.

    Once for all changes within ``delay_s`` of the first, so that a routing daemon that loads a
    table costs one call.
    """

    def __init__(self, callback: Callable[[], None], *, delay_s: float = 0.2) -> None:
        self._callback = callback
        self._delay_s = delay_s
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from now on. Raise KernelError."""
        try:
            self._socket = open_socket(NETLINK_ROUTE, _GROUPS)
        except OSError as error:
            raise _refusal("watch links and routes", error) from error
        self._loop = loop
        listen(loop, self._socket, self._readable)

    def close(self) -> None:
        """Stop to watch; a call that is due is not made. Harmless when not started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._loop = self._socket = None

    def _readable(self) -> None:
        """Throw the messages away: that there was one is the message, and so is a lost one."""
        if self._socket is None or self._loop is None:
            return
        try:
            while True:
                self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._callback()


class _Link(NamedTuple):
    name: str
    is_ethernet: bool
    mac: bytes
    mtu: int


def _links(link: Link) -> dict[int, _Link]:
    found = {}
    for answer in link.dump(Message(_GETLINK, 0, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))):
        _, kind, index, _, _ = _IFINFOMSG.unpack_from(answer.body)
        values = attributes(answer.body, _IFINFOMSG.size)
        found[index] = _Link(
            values[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace"),
            kind == _ARPHRD_ETHER,
            values.get(_IFLA_ADDRESS, b""),
            _U32.unpack(values[_IFLA_MTU])[0],
        )
    return found


def _link_mtus(link: Link) -> dict[int, int]:
    return {index: each.mtu for index, each in _links(link).items()}


def look_up(
    link: Link, address: bytes, flags: int = _RTM_F_FIB_MATCH
) -> tuple[int, dict[int, bytes]]:
    """Return a route's type (RTN_*) and attributes. Raise OSError, also where there is no route.

    Of the routing table's entry; without flags, of what the kernel makes of it.
    """
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, flags)
    answer = link.get(Message(_GETROUTE, 0, header + attribute(_RTA_DST, address)))
    return _RTMSG.unpack_from(answer.body)[7], attributes(answer.body, _RTMSG.size)


def _route(link: Link, address: bytes, flags: int = _RTM_F_FIB_MATCH) -> dict[int, bytes] | None:
    """Return the attributes of the routing table's entry for ``address``, None without one.

    Without flags: of what the kernel makes of it, with one next hop and the source address.
    """
    try:
        kind, values = look_up(link, address, flags)
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return None
        raise
    return values if kind in {_RTN_UNICAST, RTN_LOCAL} else None


def _way(link: Link, address: bytes, links: dict[int, _Link]) -> Way | None:
    route = _route(link, address, 0)
    if route is None or _RTA_OIF not in route:
        return None
    (index,) = _U32.unpack(route[_RTA_OIF])
    if index not in links:
        return None
    out = links[index]
    gateway = route.get(_RTA_GATEWAY) or route.get(_RTA_VIA, b"")[_RTVIA_FAMILY:] or None
    mtu = _route_mtu(_route(link, address), {index: out.mtu}) or out.mtu
    return Way(index, out.name, gateway, out.is_ethernet, out.mac, mtu)


def _route_mtu(route: dict[int, bytes] | None, link_mtus: dict[int, int]) -> int | None:
    """Return a route's own MTU, else the least of the links that it leads out of."""
    if route is None:
        return None
    metrics = attributes(route.get(_RTA_METRICS, b""), 0)
    if _RTAX_MTU in metrics:
        (mtu,) = _U32.unpack(metrics[_RTAX_MTU])
        return int(mtu)
    known = [link_mtus[index] for index in _interfaces(route) if index in link_mtus]
    return min(known, default=None)


def _interfaces(route: dict[int, bytes]) -> list[int]:
    """Return the indexes of the interfaces that a route leads out of."""
    if _RTA_OIF in route:
        return [_U32.unpack(route[_RTA_OIF])[0]]
    hops, found, offset = route.get(_RTA_MULTIPATH, b""), [], 0
    while offset + _RTNEXTHOP.size <= len(hops):
        length, _, _, index = _RTNEXTHOP.unpack_from(hops, offset)
        found.append(index)
        offset += max(_RTNEXTHOP.size, length + 3 & ~3)
    return found


def _refusal(operation: str, error: OSError) -> KernelError:
    return KernelError(operation, error, "see whether `ip route` works in this namespace")
