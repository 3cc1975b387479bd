"""A topology made real: steps per namespace, in three rounds.

First every node gets its interfaces, then its addresses, then its routes. Each namespace has one
conversation with the kernel for all of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.steps import AddAddress, AddBridge, AddRoute, AddVeth, Round, SetLink
from lvsd.lab.wait import until
from lvsd.net import addresses, links
from lvsd.net.families import INET6
from lvsd.net.kernel import talking
from lvsd.net.namespaces import entered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.lab.namespace import Namespace
    from lvsd.lab.plan import Link, Node, Topology
    from lvsd.lab.steps import Step
from lvsd.net.kernel import Kernel

SWITCH = "switch"
"""The namespace in which the bridges stand."""

SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.dad_transmits": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}
"""Set in each namespace before it has interfaces: addresses work at once, and nothing is
inherited from the machine that the lab stands on. Forwarding stays off: whoever balances
switches it on."""

ROUTER_SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
"""Set in the router, too."""


def names(topology: Topology) -> list[str]:
    """Return the namespaces that a topology needs, in the order to make them."""
    return [node.name for node in topology.nodes] + [SWITCH] * bool(topology.bridged)


def rounds(topology: Topology, full_name: Mapping[str, str]) -> list[Round]:
    """Return all rounds in order; ``full_name`` maps a node to its namespace's name."""
    return [
        *_wire(topology, full_name),
        *(Round(node.name, _address(node, topology)) for node in topology.nodes),
        *(Round(node.name, _route(node)) for node in topology.nodes if node.gateway or node.routes),
    ]


def build(topology: Topology, namespaces: Mapping[str, Namespace]) -> None:
    """Set up the namespaces, which exist and are empty. Return when every address works.

    Raise KernelError when the kernel refuses a step.
    """
    for namespace in namespaces.values():
        sysctls = SYSCTLS | (ROUTER_SYSCTLS if namespace.host == "router" else {})
        namespace.set_sysctls(sysctls)
    full_name = {name: namespace.name for name, namespace in namespaces.items()}
    with ExitStack() as stack:
        kernels: dict[str, Kernel] = {}
        for name, namespace in namespaces.items():
            with entered(namespace.name):
                kernels[name] = stack.enter_context(talking())
        for each in rounds(topology, full_name):
            each.do(kernels[each.node], namespaces[each.node].name)
        if not until(lambda: all(_settled(kernels[node.name]) for node in topology.nodes)):
            raise KernelError(
                "build the lab",
                "an IPv6 address or a link did not come up",
                "is another program changing network namespaces?",
            )


def mac(link: Link) -> str:
    """Return a MAC that people can read: 02:00, then the main IPv4 address in hexadecimal."""
    return f"02:00:{IPv4Address(link.addresses[0].v4).packed.hex(':')}"


def _wire(topology: Topology, full_name: Mapping[str, str]) -> list[Round]:
    """Veth pairs, made inside the namespaces, so that names clash with nobody's."""
    made: list[Round] = []
    switch: list[Step] = [SetLink("lo")]
    for network in topology.networks:
        members, mtu = topology.members(network), topology.mtu_of(network)
        if network not in topology.bridged:
            (node, link), (other, peer) = members
            pair = AddVeth(link.interface, peer.interface, full_name[other.name], mtu)
            made.append(Round(node.name, (pair,)))
            continue
        switch.append(AddBridge(network.name))
        for node, link in members:
            port = f"{network.name}-{node.name}"[:15]
            switch += [
                AddVeth(port, link.interface, full_name[node.name], mtu),
                SetLink(port, master=network.name),
            ]
        switch.append(SetLink(network.name, mtu=mtu))
    if topology.bridged:
        made.append(Round(SWITCH, tuple(switch)))
    return made


def _address(node: Node, topology: Topology) -> tuple[Step, ...]:
    steps: list[Step] = [SetLink("lo")]
    for link in node.links:
        steps.append(SetLink(link.interface, mac=mac(link), mtu=topology.mtu_of(link.network)))
        for number, pair in enumerate(link.addresses):
            v4, v6 = link.network.v4.prefixlen, link.network.v6.prefixlen
            steps += [
                AddAddress(link.interface, pair.v4, v4),
                # A deprecated address is used only when asked for: the first one is the default.
                AddAddress(link.interface, pair.v6, v6, preferred=not number),
            ]
    return tuple(steps)


def _route(node: Node) -> tuple[Step, ...]:
    steps: list[Step] = [
        AddRoute(target, gateway, route.interface)
        for route in node.routes
        for target, gateway in (
            (route.targets.v4, route.gateway.v4),
            (route.targets.v6, route.gateway.v6),
        )
    ]
    if node.gateway is not None:
        interface = node.links[0].interface
        steps += [
            AddRoute("0.0.0.0/0", node.gateway.v4, interface, node.addresses.v4),
            AddRoute("::/0", node.gateway.v6, interface, node.addresses.v6),
        ]
    return tuple(steps)


def _settled(kernel: Kernel) -> bool:
    """Whether no address is tentative and no link waits for its peer."""
    for link in links.every(kernel):
        is_done = link.is_operational if link.kind in {"veth", "bridge"} else link.is_running
        if link.is_up and not is_done:
            return False
    return not any(each.is_tentative for each in addresses.every(kernel, INET6))
