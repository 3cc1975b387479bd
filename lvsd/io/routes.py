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
    QUESTIONS_AT_ONCE,
    Message,
    attribute,
    attributes,
    linked,
    listen,
    open_socket,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lvsd.io.netlink import Link

_GETLINK: Final = 18
_GETADDR: Final = 22
_NEWROUTE, _GETROUTE = 24, 26

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
    """Longest packet in bytes, as `mtus_and_sources` has it."""


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


def mtus_and_sources(
    addresses: Iterable[bytes],
) -> Iterator[tuple[bytes, int | None, bytes | None]]:
    """Yield each address once with its MTU and its source; None, None: no route.

    The MTU is the longest packet in bytes that may be forwarded there. As the kernel reckons when
    it forwards (ip_dst_mtu_maybe_forward): the route's own MTU or else the device's, never a path
    MTU learned from ICMP. Of several next hops the least.

    The source is what this host sends from: the route's preferred source, else what the kernel
    chooses among the interface's addresses (RFC 6724 for IPv6). An address of the host itself is
    its own source.

    Some are asked about together when the first of them is taken: 20,000 questions one by one take
    a second. Raise KernelError.
    """
    wanted = tuple(dict.fromkeys(addresses))
    try:
        with linked(NETLINK_ROUTE) as link:
            entries = _Entries(link)
            for at in range(0, len(wanted), QUESTIONS_AT_ONCE):
                yield from entries.of(wanted[at : at + QUESTIONS_AT_ONCE])
    except OSError as error:
        raise _refusal("look up routes", error) from error


def ways(addresses: Iterable[bytes]) -> dict[bytes, Way | None]:
    """Return the interface and the next hop towards each address; None: no route.

    Of several next hops the one that the kernel would take now. Raise KernelError.
    """
    wanted = tuple(dict.fromkeys(addresses))
    try:
        with linked(NETLINK_ROUTE) as link:
            links = _links(link)
            taken = map(_values, _look_up_all(link, wanted, 0))
            entries = map(_values, _look_up_all(link, wanted))
            return {
                address: _way(route, entry, links)
                for address, route, entry in zip(wanted, taken, entries, strict=True)
            }
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


class _Entries:
    """What the routing table's entries say; one that many addresses share is read once."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._link_mtus = _link_mtus(link)
        self._mtus: dict[bytes | None, int | None] = {None: None}
        self._sources: dict[bytes | None, bytes] = {}
        """The source of all that goes by an entry, where there is such a one."""

    def of(self, addresses: Sequence[bytes]) -> Iterator[tuple[bytes, int | None, bytes | None]]:
        """Yield each address with its MTU and source. Raise OSError."""
        entries = [each and each.body for each in _look_up_all(self._link, addresses)]
        unknown = [
            (address, entry)
            for address, entry in zip(addresses, entries, strict=True)
            if entry not in self._sources
        ]
        found: dict[bytes, bytes | None] = {}
        answers = _look_up_all(self._link, [address for address, _ in unknown], 0)
        for (address, entry), answer in zip(unknown, answers, strict=True):
            found[address] = self._learn(entry, _values(answer) or {})
        for address, entry in zip(addresses, entries, strict=True):
            source = self._sources[entry] if address not in found else found[address]
            yield address, self._mtus[entry], source

    def _learn(self, entry: bytes | None, taken: dict[int, bytes]) -> bytes | None:
        """Take in an entry, and what the kernel makes of it for one address; return the source.

        IPv4 takes an entry's own source, else that of its next hop, whatever the destination
        (fib_result_prefsrc). IPv6 compares the destination with each address (RFC 6724).
        """
        source = taken.get(_RTA_PREFSRC)
        if entry is None or entry in self._mtus:
            return source
        values = _values(Message(_NEWROUTE, 0, entry)) or {}
        self._mtus[entry] = _route_mtu(values, self._link_mtus)
        family, *_, kind, _ = _RTMSG.unpack_from(entry)
        by_hop = (family, kind) == (socket.AF_INET, _RTN_UNICAST) and _hop(values) == _hop(taken)
        if by_hop and source is not None:
            self._sources[entry] = source
        return source


def _hop(values: dict[int, bytes]) -> tuple[bytes | None, ...]:
    """Return what leads to a route's one next hop."""
    return tuple(values.get(each) for each in (_RTA_OIF, _RTA_GATEWAY, _RTA_VIA))


def entry_kinds(link: Link, addresses: Sequence[bytes]) -> list[int | None]:
    """Return the type (RTN_*) of the routing table's entry for each address, None without one.

    Raise OSError.
    """
    return [each and _kind(each) for each in _look_up_all(link, addresses)]


def _look_up_all(
    link: Link, addresses: Sequence[bytes], flags: int = _RTM_F_FIB_MATCH
) -> list[Message | None]:
    """Return the routing table's entry for each address, None without one. Raise OSError.

    Without flags: what the kernel makes of it, with one next hop and the source address.
    """
    found: list[Message | None] = []
    for answer in link.get_all([_question(address, flags) for address in addresses]):
        if not isinstance(answer, OSError):
            found.append(answer)
        elif answer.errno in _NO_ROUTE:
            found.append(None)
        else:
            raise answer
    return found


def _question(address: bytes, flags: int) -> Message:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, flags)
    return Message(_GETROUTE, 0, header + attribute(_RTA_DST, address))


def _kind(answer: Message) -> int:
    return int(_RTMSG.unpack_from(answer.body)[7])


def _values(answer: Message | None) -> dict[int, bytes] | None:
    """Return the attributes of a route that packets can go by, else None."""
    if answer is None or _kind(answer) not in {_RTN_UNICAST, RTN_LOCAL}:
        return None
    return attributes(answer.body, _RTMSG.size)


def _way(
    route: dict[int, bytes] | None, entry: dict[int, bytes] | None, links: dict[int, _Link]
) -> Way | None:
    if route is None or _RTA_OIF not in route:
        return None
    (index,) = _U32.unpack(route[_RTA_OIF])
    if index not in links:
        return None
    out = links[index]
    gateway = route.get(_RTA_GATEWAY) or route.get(_RTA_VIA, b"")[_RTVIA_FAMILY:] or None
    mtu = _route_mtu(entry, {index: out.mtu}) or out.mtu
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
