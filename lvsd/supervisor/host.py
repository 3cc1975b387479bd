"""Look at this host's network for what the engine is to know of it; tell what is new of that.

Everything blocks, and works in no thread that runs an event loop.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core.values import ANY_MTU, Way
from lvsd.io import sysctls
from lvsd.io.leads import Lead
from lvsd.net import addresses, links, network, ways
from lvsd.net.kernel import talking
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lvsd.net.kernel import Kernel

ROUTES_FOR_A_QUESTION: Final = 4
"""So many routes are read in the time in which the kernel is asked for one way."""

_OWN: Final = Path("/proc/thread-self/net")
"""This namespace's, also in a thread that entered one."""


class Host(NamedTuple):
    """Links, addresses and the ways to real servers, as the network says now."""

    link_mtus: Mapping[int, int]
    """By interface index, in bytes."""
    addresses: frozenset[bytes]
    """This host's own, packed."""
    ways: Mapping[bytes, Way]
    """By the real server's address."""


NOTHING: Final = Host({}, frozenset(), {})
"""What is known before anybody has looked."""


def look(servers: Collection[bytes], direct: Collection[bytes]) -> tuple[Host, dict[bytes, Lead]]:
    """Return the host with the ways to real servers, and what leads to those of direct routing.

    Servers are packed addresses. Of the leads the MACs are missing
    (`lvsd.supervisor.neighbours`). Raise KernelError.
    """
    wanted = dict.fromkeys([*servers, *direct])
    with talking() as kernel:
        found = _ways(kernel, wanted)
        mtus = {link.index: link.mtu for link in links.every(kernel)}
        own = frozenset(each.address for each in addresses.every(kernel))
    # The wire says an object once in a message, and most servers have the same way.
    same: dict[Way, Way] = {}
    to_servers = {}
    for each in servers:
        way = _of_core(found[each], is_local=each in own)
        to_servers[each] = same.setdefault(way, way)
    return Host(mtus, own, to_servers), {each: _lead(each, found[each]) for each in direct}


def difference(before: Host, after: Host) -> Host | None:
    """Return ``after`` with no ways but those that are new or changed; None without any news."""
    known = before.ways
    news = {each: way for each, way in after.ways.items() if known.get(each) != way}
    if not news and before[:2] == after[:2]:
        return None
    return after._replace(ways=news)


def _ways(kernel: Kernel, wanted: Collection[bytes]) -> dict[bytes, ways.Way | None]:
    """Return the way to each address by what takes less time: questions, or reading all routes."""
    if ROUTES_FOR_A_QUESTION * len(wanted) < _routes():
        return ways.ask(kernel, wanted)
    name = sysctls.FORWARDING[6]
    forwards = sysctls.exists(name) and sysctls.read(name) != "0"
    return network.ways(kernel, network.read(kernel, forwards_ipv6=forwards), wanted)


def _routes() -> int:
    """Return how many routes there are, as far as the kernel counts them."""
    count = 0
    with suppress(OSError):
        ipv4 = (_OWN / "fib_triestat").read_text(encoding="ascii")
        # As long as no rule was ever added, tables main and local are one, which is told twice.
        count = sum(set(map(int, re.findall(r"Prefixes:\s+(\d+)", ipv4))))
        ipv6 = (_OWN / "rt6_stats").read_text(encoding="ascii")
        count += int(ipv6.split()[2], 16)
    return count


def _of_core(way: ways.Way | None, *, is_local: bool) -> Way:
    if way is None:
        return Way(ANY_MTU, None, is_local)
    return Way(way.mtu or ANY_MTU, way.source, is_local)


def _lead(address: bytes, way: ways.Way | None) -> Lead:
    if way is None:
        return Lead(problem="no route")
    if not way.is_ethernet or len(way.mac) != 6:
        return Lead(problem=f"reached over {way.name}, which is not Ethernet")
    if way.gateway is not None and way.gateway != address:
        router, link = text(way.gateway), way.name
        return Lead(problem=f"behind the router {router}, not on the link {link}")
    return Lead(way.interface, way.name, way.mac, way.mtu)
