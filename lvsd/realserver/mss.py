"""Have clients send segments that fit into the tunnel: a limit to the MSS of SYNs from the VIPs.

How long the segments of an upload are is up to the MSS that the real server says in its SYN-ACK,
which goes past the director. Linux reckons it from the link to the client and knows nothing of the
tunnel that the client's packets come by. So a table of nftables lowers it as it leaves::

    longest packet of the link, or of the way to the director     1500
    - outer IP header, 20 or 40, and what is between: GRE 8, GUE 12
    - inner IP header, 20 or 40
    - TCP header, 20                                              = 1440 for ipip, all IPv4

An MSS counts no options (RFC 6691): who sends takes off those that it uses. Where tunnels come over
both IP versions, the longer header counts; for GRE always that with a checksum.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError
from lvsd.io import nft
from lvsd.net import links, ways
from lvsd.net.kernel import talking
from lvsd.packet.address import pack, text
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import ends
from lvsd.realserver.settings import LEAST_MSS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.realserver.settings import Settings

TABLE: Final = "lvsd_realserver"

_OPERATION: Final = "find the MSS that fits into the tunnel"
_CHAIN: Final = "mss"
_HOOK: Final = "postrouting"
_PRIORITY: Final = 150
"""After source NAT (100): replies of a program behind port forwarding have the VIP by then."""

_IP_HEADER: Final = {4: 20, 16: 40}
_TCP_HEADER: Final = 20
_BETWEEN: Final = {Carrier.IPV4: 0, Carrier.IPV6: 0, Carrier.GRE: 8, Carrier.GUE: 12}
"""Bytes between the outer IP header and the inner packet."""
_CARRIED: Final = {Carrier.IPV4: 4, Carrier.IPV6: 16}
"""Length of the inner addresses, where a carrier has only one."""
_VERSIONS: Final = {4: ("ip", "ipv4_addr", "vips4"), 16: ("ip6", "ipv6_addr", "vips6")}
"""Length of an address -> protocol, type and set in nft."""
_CLAMP: Final = "tcp flags syn tcp option maxseg size > {0} tcp option maxseg size set {0}"
_OPTION: Final = {"tcp option": {"name": "maxseg", "field": "size"}}


def wanted(settings: Settings) -> dict[bytes, int]:
    """Return virtual address -> the greatest MSS that it may say; empty if none is limited.

    All of one IP version have the same. Raise KernelError when it is to be found out and cannot be.
    """
    if settings.mss is None:
        return {}
    if settings.mss != "auto":
        return dict.fromkeys(settings.vips, settings.mss)
    fitting = {length: _fitting(settings, length) for length in {len(vip) for vip in settings.vips}}
    return {vip: fitting[len(vip)] for vip in settings.vips}


def in_force() -> dict[bytes, int]:
    """Return virtual address -> the greatest MSS that the kernel lets it say now.

    Raise KernelError, PrivilegeError.
    """
    try:
        return _limits(nft.listed(TABLE) or [])
    except (AttributeError, KeyError, TypeError, ValueError):  # somebody made another one of it
        return {}


def commands(limits: dict[bytes, int]) -> list[str]:
    """Return the commands of nft that make the table; none if there is nothing to limit.

    The kernel raises no MSS (nft_exthdr_tcp_set_eval); it is compared for people to read.
    """
    if not limits:
        return []
    made = [
        f"add table inet {TABLE}",
        f"add chain inet {TABLE} {_CHAIN} {{ type filter hook {_HOOK} priority {_PRIORITY}; }}",
    ]
    for length, (protocol, kind, name) in _VERSIONS.items():
        of_version = {text(vip): size for vip, size in limits.items() if len(vip) == length}
        if not of_version:
            continue
        elements, size = ", ".join(of_version), min(of_version.values())
        made += [
            f"add set inet {TABLE} {name} {{ type {kind}; elements = {{ {elements} }}; }}",
            f"add rule inet {TABLE} {_CHAIN} {protocol} saddr @{name} {_CLAMP.format(size)}",
        ]
    return made


def _fitting(settings: Settings, length: int) -> int:
    """Return the MSS that fits into every tunnel for virtual addresses of so many bytes.

    Raise KernelError.
    """
    sizes = []
    for end in ends(settings):
        if _CARRIED.get(end.carrier, length) != length:
            continue
        outer = 4 if end.family == socket.AF_INET else 16
        overhead = _IP_HEADER[outer] + _BETWEEN[end.carrier]
        sizes.append(_longest(settings, outer) - overhead - _IP_HEADER[length] - _TCP_HEADER)
    if min(sizes, default=0) < LEAST_MSS:
        raise KernelError(_OPERATION, f"it would be {min(sizes, default=0)}", "say it by --mss N")
    return min(sizes)


def _longest(settings: Settings, outer: int) -> int:
    """Return the longest tunnelled packet that fits, in bytes; ``outer``: length of its addresses.

    As far as this host can know: the MTU of the way to the directors that are named, else the
    least of the links that neighbours are on. Raise KernelError.
    """
    named = [director for director in settings.directors if len(director) == outer]
    if not named:
        return _least_of_links()
    known = []
    for director, mtu in route_mtus(named).items():
        if mtu is None:
            remedy = "see `ip route`, or say it by --mss N"
            raise KernelError(_OPERATION, f"there is no way to {text(director)}", remedy)
        known.append(mtu)
    return min(known)


def _least_of_links() -> int:
    """Return the least MTU of all links that neighbours are on, in bytes. Raise KernelError."""
    with talking() as kernel:
        known = [link.mtu for link in links.every(kernel) if link.is_up and link.speaks_arp]
    if not known:
        remedy = "name the director by --from, or say it by --mss N"
        raise KernelError(_OPERATION, "no link with neighbours is up", remedy)
    return min(known)


def route_mtus(addresses: Iterable[bytes]) -> dict[bytes, int | None]:
    """Return the longest packet in bytes on the way to each address; None: no route.

    Raise KernelError.
    """
    with talking() as kernel:
        found = ways.ask(kernel, addresses)
    return {address: None if way is None else way.mtu for address, way in found.items()}


def _limits(objects: list[nft.Object]) -> dict[bytes, int]:
    """Return what a table limits. Raise what a table raises that is not made by `commands`."""
    members = {f"@{each['name']}": each.get("elem", []) for kind, each in objects if kind == "set"}
    hooked = {
        each["name"] for kind, each in objects if kind == "chain" and each.get("hook") == _HOOK
    }
    found: dict[bytes, int] = {}
    for kind, each in objects:
        if kind == "rule" and each["chain"] in hooked:
            source, size = _limit(each["expr"])
            found |= {pack(vip): size for vip in members.get(source, ()) if size}
    return found


def _limit(expressions: list[dict[str, Any]]) -> tuple[str, int]:
    """Return the set of source addresses that a rule is for, and the MSS that it sets; 0: none."""
    source, size = "", 0
    for each in expressions:
        match, mangle = each.get("match"), each.get("mangle")
        if match and match["left"].get("payload", {}).get("field") == "saddr":
            source = str(match["right"])
        if mangle and mangle["key"] == _OPTION:
            size = int(mangle["value"])
    return source, size
