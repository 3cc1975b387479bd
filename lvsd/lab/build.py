"""A topology made real: ``ip`` commands per namespace, in three rounds.

First every node gets its interfaces, then its addresses, then its routes. All commands of one
namespace and round go to one ``ip -batch``, so that a lab costs some twenty processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.lab.namespace import Namespace
    from lvsd.lab.plan import Link, Node, Topology

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


@dataclass(frozen=True, slots=True)
class Round:
    """The lines for one ``ip -batch`` in the namespace of ``node``."""

    node: str
    lines: tuple[str, ...]


def names(topology: Topology) -> list[str]:
    """Return the namespaces that a topology needs, in the order to make them."""
    return [node.name for node in topology.nodes] + [SWITCH] * bool(topology.bridged)


def commands(topology: Topology, full_name: Mapping[str, str]) -> list[Round]:
    """Return all rounds in order; ``full_name`` maps a node to its namespace's name."""
    return [
        *_wire(topology, full_name),
        *(Round(node.name, _address(node, topology)) for node in topology.nodes),
        *(Round(node.name, _route(node)) for node in topology.nodes if node.gateway or node.routes),
    ]


def build(topology: Topology, namespaces: Mapping[str, Namespace]) -> None:
    """Set up the namespaces, which exist and are empty. Return when every address works.

    Raise KernelError when the kernel refuses a command.
    """
    for namespace in namespaces.values():
        sysctls = SYSCTLS | (ROUTER_SYSCTLS if namespace.host == "router" else {})
        for key, value in sysctls.items():
            namespace.sysctl(key, value)
    full_name = {name: namespace.name for name, namespace in namespaces.items()}
    for step in commands(topology, full_name):
        namespaces[step.node].ip(*step.lines)
    if not until(lambda: all(_settled(namespaces[node.name]) for node in topology.nodes)):
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
    rounds: list[Round] = []
    switch = ["link set lo up"]
    for network in topology.networks:
        members, mtu = topology.members(network), topology.mtu_of(network)
        if network not in topology.bridged:
            (node, link), (other, peer) = members
            line = _veth(mtu, link.interface, peer.interface, full_name[other.name])
            rounds.append(Round(node.name, (line,)))
            continue
        switch.append(f"link add {network.name} type bridge stp_state 0 mcast_snooping 0")
        for node, link in members:
            port = f"{network.name}-{node.name}"[:15]
            switch += [
                _veth(mtu, port, link.interface, full_name[node.name]),
                f"link set {port} master {network.name} up",
            ]
        switch.append(f"link set {network.name} mtu {mtu} up")
    if topology.bridged:
        rounds.append(Round(SWITCH, tuple(switch)))
    return rounds


def _veth(mtu: int, interface: str, peer: str, peer_namespace: str) -> str:
    return (
        f"link add {interface} mtu {mtu} type veth"
        f" peer name {peer} mtu {mtu} netns {peer_namespace}"
    )


def _address(node: Node, topology: Topology) -> tuple[str, ...]:
    lines = ["link set lo up"]
    for link in node.links:
        mtu = topology.mtu_of(link.network)
        lines.append(f"link set {link.interface} address {mac(link)} mtu {mtu} up")
        for number, addresses in enumerate(link.addresses):
            # A deprecated address is used only when asked for: the first one is the default.
            life = " preferred_lft 0" if number else ""
            v4, v6 = link.network.v4.prefixlen, link.network.v6.prefixlen
            lines += [
                f"address add {addresses.v4}/{v4} dev {link.interface}",
                f"address add {addresses.v6}/{v6} dev {link.interface} nodad{life}",
            ]
    return tuple(lines)


def _route(node: Node) -> tuple[str, ...]:
    lines = [
        f"route add {target} via {gateway} dev {route.interface}"
        for route in node.routes
        for target, gateway in (
            (route.targets.v4, route.gateway.v4),
            (route.targets.v6, route.gateway.v6),
        )
    ]
    if node.gateway is not None:
        lines += [
            f"route add default via {gateway} dev {node.links[0].interface} src {source}"
            for gateway, source in (
                (node.gateway.v4, node.addresses.v4),
                (node.gateway.v6, node.addresses.v6),
            )
        ]
    return tuple(lines)


def _settled(namespace: Namespace) -> bool:
    """Whether no address is tentative and no link waits for its peer."""
    tentative = namespace.run(["ip", "-6", "address", "show", "tentative"]).stdout
    waiting = namespace.run(["ip", "link", "show", "up"]).stdout
    return not tentative and "NO-CARRIER" not in waiting
