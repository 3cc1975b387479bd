"""The network as this host sees it, at one time: an immutable snapshot that knows the ways.

Reading it costs time by the length of the tables (0.14 ms a route), a look-up some microseconds:
for a few addresses `lvsd.net.ways.ask` is cheaper, for thousands this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.net import addresses, links, routes, rules
from lvsd.net.families import INET, INET6
from lvsd.net.fib import Fib, Unknown
from lvsd.net.routes import LOCAL
from lvsd.net.sources import CHOICE, Sources
from lvsd.net.ways import Way, ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.net.addresses import Address
    from lvsd.net.kernel import Kernel
    from lvsd.net.links import Link
    from lvsd.net.routes import Route
    from lvsd.net.rules import Rule

SPECIAL: Final = Unknown("it is no address of one host: multicast, broadcast, or of one link")
VRF: Final = Unknown("a VRF has a part in it")
_LOOPBACK: Final = 1
"""The index of ``lo`` in each namespace."""


class Network:
    """Links, addresses, rules and routes of all tables, of both families.

    ``forwards_ipv6``: net.ipv6.conf.all.forwarding. A host that does not forward passes over a
    gateway that does not answer, which nobody can know from here.
    """

    def __init__(
        self,
        links: Iterable[Link],
        addresses: Iterable[Address],
        rules: Iterable[Rule],
        routes: Iterable[Route],
        *,
        forwards_ipv6: bool,
    ) -> None:
        self.links = {link.index: link for link in links}
        self.addresses = tuple(addresses)
        self.rules = tuple(rules)
        self.routes = tuple(routes)
        self._fibs = {
            4: Fib(INET, self.routes, self.rules, forwards=True),
            16: Fib(INET6, self.routes, self.rules, forwards=forwards_ipv6),
        }
        self._sources = Sources(self.addresses)
        self._ways: dict[int, Way | Unknown | None] = {}
        """By the identity of a route, where all addresses that it leads to have one way."""
        self._has_vrf = any(link.kind == "vrf" for link in self.links.values())

    def way(self, address: bytes) -> Way | Unknown | None:
        """Return the way to an address; None: no route. `Unknown`: the kernel has to be asked."""
        if _is_special(address):
            return SPECIAL
        if self._has_vrf:
            return VRF
        route = self._fibs[len(address)].find(address)
        if route is None or isinstance(route, Unknown):
            return route
        if route.source is None and (route.kind == LOCAL or len(address) == 16):
            return self._by(route, address)  # the source depends on the address
        number = id(route)
        if number not in self._ways:
            self._ways[number] = self._by(route, address)
        return self._ways[number]

    def alike(self, address: bytes, unknown: Unknown) -> bytes | int:
        """Return what those addresses have in common that the kernel need be asked of only once.

        The source of an IPv4 route is chosen by the route, whatever the address that it leads to
        (fib_info_update_nhc_saddr): thousands of servers behind a link without an address are one
        question.
        """
        return (
            id(self._fibs[4].find(address)) if unknown is CHOICE and len(address) == 4 else address
        )

    def _by(self, route: Route, address: bytes) -> Way | Unknown | None:
        """Return the way to an address by the route that counts for it."""
        hop = route.hops[0]
        is_local = route.kind == LOCAL
        source = self._source(route, address)
        if isinstance(source, Unknown):
            return source
        through = self.links.get(hop.interface)
        out = self.links.get(_LOOPBACK) if is_local else through
        if through is None or out is None:
            return None
        mtu = route.mtu or through.mtu
        gateway = None if is_local else hop.gateway
        return Way(out.index, out.name, gateway, out.is_ethernet, out.mac, mtu, source, is_local)

    def _source(self, route: Route, address: bytes) -> bytes | Unknown | None:
        if route.source is not None:
            return route.source
        if route.kind == LOCAL:
            return address
        hop = route.hops[0]
        if len(address) == 16:
            return self._sources.ipv6(hop.interface, address)
        return self._sources.ipv4(hop.interface, hop.gateway, route.scope)


def read(kernel: Kernel, *, forwards_ipv6: bool) -> Network:
    """Return the network as it is now. Raise KernelError.

    The four lists are read one after the other: who needs them to fit together reads anew after a
    notification of a change.
    """
    return Network(
        links.every(kernel),
        addresses.every(kernel),
        rules.every(kernel),
        routes.every(kernel),
        forwards_ipv6=forwards_ipv6,
    )


def ways(kernel: Kernel, network: Network, wanted: Iterable[bytes]) -> dict[bytes, Way | None]:
    """Return the way to each address; the kernel is asked what the snapshot cannot know.

    Raise KernelError.
    """
    found: dict[bytes, Way | None] = {}
    unknown: dict[bytes | int, list[bytes]] = {}
    for address in dict.fromkeys(wanted):
        way = network.way(address)
        if isinstance(way, Unknown):
            unknown.setdefault(network.alike(address, way), []).append(address)
        else:
            found[address] = way
    answers = ask(kernel, [some[0] for some in unknown.values()])
    return found | {each: answers[some[0]] for some in unknown.values() for each in some}


def _is_special(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] >= 224 or address[0] == 0
    return address[0] == 0xFF or (address[0] == 0xFE and address[1] >= 0x80) or not any(address)
