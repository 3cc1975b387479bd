"""The entries of the routing tables (ip-route(8))."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from lvsd.net.families import INET, INET6, family
from lvsd.net.kernel import NEW, Request
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.net.kernel import Kernel, Message

UNICAST, LOCAL, BROADCAST, ANYCAST, MULTICAST = 1, 2, 3, 4, 5
BLACKHOLE, UNREACHABLE, PROHIBIT, THROW = 6, 7, 8, 9
"""Types of a route: RTN_* of linux/rtnetlink.h."""

ALL_TABLES: Final = 255
"""A family that there is not: to a question about it the kernel tells of all."""

_NEWROUTE: Final = 24
_MAIN: Final = 254
_STATIC: Final = 4  # RTPROT_STATIC
_ANY: Final = {INET: bytes(4), INET6: bytes(16)}
_CLONED: Final = 0x200  # RTM_F_CLONED: no entry of a table, but what was learned, such as by ICMP
_DEAD, _LINKDOWN = 0x01, 0x10  # RTNH_F_*
_REMEDY: Final = "see whether it can be done by `ip route`"


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of the ways that a route leads out by."""

    interface: int
    gateway: bytes | None
    is_dead: bool = False
    """Its link is down."""
    has_no_carrier: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """An entry: where it leads, and what it says of packets that go there."""

    family: int
    table: int
    destination: bytes
    length: int
    """Of the prefix, in bits."""
    kind: int
    metric: int
    hops: tuple[NextHop, ...]
    """None where it leads nowhere, such as a blackhole."""
    source: bytes | None = None
    """The preferred source address."""
    mtu: int | None = None
    tos: int = 0
    scope: int = 0
    source_length: int = 0
    """It counts only for packets of a source prefix of this length, if that is not 0."""
    nexthop_object: int | None = None
    """The number of what `ip nexthop` made of its hops."""


def every(kernel: Kernel) -> tuple[Route, ...]:
    """Return the entries of all tables, of both families. Raise KernelError."""

    def of_table(message: Message) -> Route | None:
        is_one = message["family"] in _ANY and not message["flags"] & _CLONED
        return made(message) if is_one else None

    return tuple(filter(None, kernel.dump("route", "list the routes", of_table, family=ALL_TABLES)))


def adding(
    destination: bytes,
    length: int,
    *,
    gateway: bytes,
    interface: int,
    source: bytes | None = None,
) -> Request:
    """Return the request to add a route to the main table; it is refused by EEXIST."""
    attributes: list[tuple[str, Any]] = []
    if length:
        attributes.append(("RTA_DST", text(destination)))
    attributes += [("RTA_GATEWAY", text(gateway)), ("RTA_OIF", interface)]
    if source is not None:
        attributes.append(("RTA_PREFSRC", text(source)))
    fields = {
        "family": family(destination),
        "dst_len": length,
        "table": _MAIN,
        "proto": _STATIC,
        "type": UNICAST,
    }
    what = f"add the route to {text(destination)}/{length} by {text(gateway)}"
    return Request(_NEWROUTE, NEW, fields, attributes, what, _REMEDY)


def made(message: Message) -> Route:
    """Return the route that a message describes."""
    of = message["family"]
    destination = message.get_attr("RTA_DST")
    return Route(
        family=of,
        table=message.get_attr("RTA_TABLE", 0) or message["table"],
        destination=_packed(destination) if destination else _ANY[of],
        length=message["dst_len"],
        kind=message["type"],
        metric=message.get_attr("RTA_PRIORITY") or 0,
        hops=tuple(hops(message)),
        source=_packed(message.get_attr("RTA_PREFSRC"))
        if message.get_attr("RTA_PREFSRC")
        else None,
        mtu=own_mtu(message),
        tos=message["tos"],
        scope=message["scope"],
        source_length=message["src_len"],
        nexthop_object=message.get_attr("RTA_NH_ID"),
    )


def own_mtu(message: Message) -> int | None:
    """Return the MTU that a route itself says, in bytes."""
    metrics = message.get_attr("RTA_METRICS")
    mtu = metrics.get_attr("RTAX_MTU") if metrics else None
    return None if mtu is None else int(mtu)


def hops(message: Message) -> Iterable[NextHop]:
    """Yield the ways that a route leads out by."""
    several = message.get_attr("RTA_MULTIPATH")
    if several:
        for each in several:
            flags = each["flags"]
            yield NextHop(each["oif"], gateway(each), bool(flags & _DEAD), bool(flags & _LINKDOWN))
    elif message.get_attr("RTA_OIF"):
        flags, out = message["flags"], message.get_attr("RTA_OIF")
        yield NextHop(out, gateway(message), bool(flags & _DEAD), bool(flags & _LINKDOWN))


def gateway(message: Message) -> bytes | None:
    """Return the next router; of an IPv4 route it may have an IPv6 address (RFC 5549)."""
    if by := message.get_attr("RTA_GATEWAY"):
        return _packed(by)
    via = message.get_attr("RTA_VIA")
    return _packed(via["addr"]) if via else None


def _packed(address: Any) -> bytes:
    match address:
        case bytes():
            return address
        case IPv4Address() | IPv6Address():
            return address.packed
    return pack(address)
