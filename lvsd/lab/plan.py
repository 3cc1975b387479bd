"""The lab on paper: networks, nodes, addresses. Pure; `lvsd.lab.build` makes it real.

What NAT needs::

    client ------------ front director back ------+------ server1 .11
    192.0.2.100         .1           .1           |
    and .101 to .120                              +------ server2 .12
    192.0.2.0/24                   10.0.0.0/24    |
    2001:db8:1::/64                fd00:10::/64   +------ server3 .13

The virtual address lies in neither network, so it needs no interface: the client's default
route leads to the director. The last digits of a node's IPv4 and IPv6 addresses read alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from lvsd.errors import UsageError

MIN_MTU = 1280
"""The least that IPv6 allows (RFC 8200 section 5)."""

MAX_MTU = 65535
MAX_SERVERS = 200

DIRECTOR = 1
FIRST_SERVER = 11
CLIENT = 100
CLIENT_SOURCES = range(CLIENT, CLIENT + 21)


@dataclass(frozen=True, slots=True)
class Addresses:
    """One host's IPv4 and IPv6 address, as text."""

    v4: str
    v6: str


VIP = Addresses("198.51.100.10", "2001:db8:51::10")
"""The virtual address of the lab's services (RFC 5737, RFC 3849)."""


@dataclass(frozen=True, slots=True)
class Network:
    """One broadcast domain."""

    name: str
    v4: IPv4Network
    v6: IPv6Network

    def host(self, number: int) -> Addresses:
        """Return the addresses that end in ``number``: 10.0.0.11 and fd00:10::11."""
        v6 = IPv6Address(int(self.v6.network_address) + int(str(number), 16))
        return Addresses(str(self.v4.network_address + number), str(v6))


FRONT = Network("front", IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:1::/64"))
BACK = Network("back", IPv4Network("10.0.0.0/24"), IPv6Network("fd00:10::/64"))


@dataclass(frozen=True, slots=True)
class Link:
    """A node's interface in a network. ``addresses[0]`` is the one that it speaks from."""

    interface: str
    network: Network
    addresses: tuple[Addresses, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A host: its interfaces, the first one its main one, and its default gateway."""

    name: str
    links: tuple[Link, ...]
    gateway: Addresses | None = None

    @property
    def addresses(self) -> Addresses:
        """The node's main addresses."""
        return self.links[0].addresses[0]


@dataclass(frozen=True, slots=True)
class Topology:
    """A lab to build.

    A network of two members is a veth pair; one with more is a bridge, which stands in a
    namespace of its own like the switch that it is.
    """

    nodes: tuple[Node, ...]
    vip: Addresses
    mtu: int

    def members(self, network: Network) -> list[tuple[Node, Link]]:
        """Return who is attached to ``network``, in the order of the nodes."""
        return [
            (node, link) for node in self.nodes for link in node.links if link.network == network
        ]

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks, in the order in which the nodes name them."""
        return tuple(dict.fromkeys(link.network for node in self.nodes for link in node.links))

    @property
    def bridged(self) -> tuple[Network, ...]:
        """The networks that need a bridge."""
        return tuple(network for network in self.networks if len(self.members(network)) > 2)


def nat(servers: int, mtu: int) -> Topology:
    """Return the plan for NAT: the real servers' way out leads through the director.

    ``mtu`` is in bytes. Raise UsageError for a number out of range.
    """
    if not 1 <= servers <= MAX_SERVERS:
        raise UsageError(f"a lab has 1 to {MAX_SERVERS} real servers, not {servers}")
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"the MTU of a lab is {MIN_MTU} to {MAX_MTU} bytes, not {mtu}")
    sources = tuple(FRONT.host(number) for number in CLIENT_SOURCES)
    client = Node("client", (Link("eth0", FRONT, sources),), FRONT.host(DIRECTOR))
    director = Node(
        "director",
        tuple(Link(network.name, network, (network.host(DIRECTOR),)) for network in (FRONT, BACK)),
    )
    real = (
        Node(
            f"server{index + 1}",
            (Link("eth0", BACK, (BACK.host(FIRST_SERVER + index),)),),
            BACK.host(DIRECTOR),
        )
        for index in range(servers)
    )
    return Topology((client, director, *real), VIP, mtu)
