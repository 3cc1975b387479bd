"""A topology made real, in three rounds.

First every node gets its interfaces, then its addresses, then its routes. Each namespace has one
conversation with the kernel for all of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address, ip_network
from socket import if_nametoindex
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.lab.wait import until
from lvsd.net import addresses, links, routes
from lvsd.net.families import INET6
from lvsd.net.kernel import talking
from lvsd.net.namespaces import opened
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lvsd.lab.namespace import Namespace
    from lvsd.lab.plan import Link, Node, Topology
    from lvsd.net.kernel import Kernel, Request

SWITCH: Final = "switch"
"""The namespace in which the bridges stand."""

SYSCTLS: Final = {
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.dad_transmits": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}
"""Set in each namespace before it has interfaces: addresses work at once, and nothing is
inherited from the machine that the lab stands on. Forwarding stays off: whoever balances
switches it on."""

ROUTER_SYSCTLS: Final = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
"""Set in the router, too."""

DAY_CS: Final = 24 * 3600 * 100
FORWARDS_AT_ONCE: Final = (
    ("IFLA_BR_STP_STATE", 0),
    ("IFLA_BR_MCAST_SNOOPING", 0),
    ("IFLA_BR_AGEING_TIME", DAY_CS),
)
"""A bridge without spanning tree and multicast snooping, which remembers for a day where a MAC is.

After the usual five minutes a host that only receives would be forgotten, and what is sent to it be
seen by all."""


def names(topology: Topology) -> list[str]:
    """Return the namespaces that a topology needs, in the order to make them."""
    return [node.name for node in topology.nodes] + [SWITCH] * bool(topology.bridged)


def build(topology: Topology, namespaces: Mapping[str, Namespace]) -> None:
    """Set up the namespaces, which exist and are empty. Return when every address works.

    Raise KernelError when the kernel refuses something.
    """
    for namespace in namespaces.values():
        sysctls = SYSCTLS | (ROUTER_SYSCTLS if namespace.host == "router" else {})
        namespace.set_sysctls(sysctls)
    with ExitStack() as stack:
        kernels: dict[str, Kernel] = {}
        for name, namespace in namespaces.items():
            with namespace.entered():
                kernels[name] = stack.enter_context(talking())

        def do(name: str, requests: Iterable[Request]) -> None:
            """Do requests in a namespace, which are made there: they name interfaces by number."""
            with namespaces[name].entered():
                try:
                    kernels[name].do(*requests)
                except KernelError as error:
                    error.add_note(f"in {namespaces[name].name}")
                    raise

        _wire(topology, namespaces, do)
        for node in topology.nodes:
            do(node.name, _addresses(node, topology))
        for node in topology.nodes:
            do(node.name, _routes(node))
        if not until(lambda: all(_settled(kernels[node.name]) for node in topology.nodes)):
            raise KernelError(
                "build the lab",
                "an IPv6 address or a link did not come up",
                "is another program changing network namespaces?",
            )


def mac(link: Link) -> str:
    """Return a MAC that people can read: 02:00, then the main IPv4 address in hexadecimal."""
    return _mac(link).hex(":")


def _mac(link: Link) -> bytes:
    return b"\x02\x00" + IPv4Address(link.addresses[0].v4).packed


def _wire(
    topology: Topology,
    namespaces: Mapping[str, Namespace],
    do: Callable[[str, Iterable[Request]], None],
) -> None:
    """Make veth pairs, inside the namespaces, so that names clash with nobody's."""
    with ExitStack() as stack:

        def pair(interface: str, node: Node, peer: Link) -> Request:
            there = stack.enter_context(opened(namespaces[node.name].name))
            mtu = topology.mtu_of(peer.network)
            return links.adding_veth(interface, peer.interface, there, mtu)

        switch: list[Request] = []
        ports: dict[str, str] = {}
        for network in topology.networks:
            members = topology.members(network)
            if network not in topology.bridged:
                (node, link), (other, peer) = members
                do(node.name, [pair(link.interface, other, peer)])
                continue
            switch.append(links.adding(network.name, "bridge", FORWARDS_AT_ONCE))
            for node, link in members:
                port = f"{network.name}-{node.name}"[:15]
                ports[port] = network.name
                switch.append(pair(port, node, link))
        if switch:
            do(SWITCH, switch)
            do(SWITCH, _bridges(topology, ports))


def _bridges(topology: Topology, ports: Mapping[str, str]) -> Iterator[Request]:
    """Yield what brings the bridges up; ``ports`` has the bridge of each port."""
    yield links.changing(if_nametoindex("lo"), up=True)
    for port, bridge in ports.items():
        yield links.changing(if_nametoindex(port), up=True, master=if_nametoindex(bridge))
    for network in topology.bridged:
        mtu = topology.mtu_of(network)
        yield links.changing(if_nametoindex(network.name), up=True, mtu=mtu)


def _addresses(node: Node, topology: Topology) -> Iterator[Request]:
    yield links.changing(if_nametoindex("lo"), up=True)
    for link in node.links:
        index, mtu = if_nametoindex(link.interface), topology.mtu_of(link.network)
        yield links.changing(index, up=True, mac=_mac(link), mtu=mtu)
        for number, pair in enumerate(link.addresses):
            yield addresses.adding(index, pack(pair.v4), link.network.v4.prefixlen)
            # A deprecated address is used only when asked for: the first one is the default.
            yield addresses.adding(
                index, pack(pair.v6), link.network.v6.prefixlen, preferred=not number
            )


def _routes(node: Node) -> Iterator[Request]:
    for route in node.routes:
        yield _route(route.targets.v4, route.gateway.v4, route.interface)
        yield _route(route.targets.v6, route.gateway.v6, route.interface)
    if node.gateway is not None:
        interface, own = node.links[0].interface, node.addresses
        yield _route("0.0.0.0/0", node.gateway.v4, interface, pack(own.v4))
        yield _route("::/0", node.gateway.v6, interface, pack(own.v6))


def _route(target: str, gateway: str, interface: str, source: bytes | None = None) -> Request:
    network = ip_network(target)
    return routes.adding(
        network.network_address.packed,
        network.prefixlen,
        gateway=pack(gateway),
        interface=if_nametoindex(interface),
        source=source,
    )


def _settled(kernel: Kernel) -> bool:
    """Whether no address is tentative and no link waits for its peer."""
    for link in links.every(kernel):
        is_done = link.is_operational if link.kind in {"veth", "bridge"} else link.is_running
        if link.is_up and not is_done:
            return False
    return not any(each.is_tentative for each in addresses.every(kernel, INET6))
