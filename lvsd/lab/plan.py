"""The lab on paper: networks, nodes, addresses. Pure; `lvsd.lab.build` makes it real.

What NAT needs::

    client ------------ front director back ------+------ server1 .11
    192.0.2.100         .1           .1           |
    and .101 to .120                              +------ server2 .12
    192.0.2.0/24                   10.0.0.0/24    |
    2001:db8:1::/64                fd00:10::/64   +------ server3 .13

The virtual address lies in neither network, so it needs no interface: the client's default
route leads to the director. The last digits of a node's IPv4 and IPv6 addresses read alike.

The other modes need a router besides, with .254 in each network. DR's servers stand in the back
network; those of TUN and FULLNAT in a far one, as their director is anywhere::

    client ---+--- front director back ---+------ server1 .11 (nat, dr)
              |                           |
              +--- front router back -----+
                          far
                           |  10.1.0.0/24, fd00:11::/64
                           +------ server2 .12 (tun, fullnat)

===========  ========================  ============================
who          default gateway           beside it
===========  ========================  ============================
client       director                  front
director     none                      front, back; far: the router
router       none                      all; the VIP: the director
server, nat  director                  back
server, dr   router                    back
server, tun  router                    far
fullnat      router                    far
===========  ========================  ============================

So replies of DR and TUN go by the router, past the director. For FULLNAT the director has
`LOCALS` in the back network.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from lvsd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_MTU = 1280
"""The least that IPv6 allows (RFC 8200 section 5)."""

MAX_MTU = 65535
MAX_SERVERS = 200

WAYS = ("nat", "dr", "tun", "fullnat")
"""The ways to reach a real server, as the configuration's ``forward`` names them."""

DIRECTOR = 1
LOCALS = (2, 3)
ROUTER = 254
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
FAR = Network("far", IPv4Network("10.1.0.0/24"), IPv6Network("fd00:11::/64"))


@dataclass(frozen=True, slots=True)
class Link:
    """A node's interface in a network. ``addresses[0]`` is the one that it speaks from."""

    interface: str
    network: Network
    addresses: tuple[Addresses, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A way to ``targets``, prefixes as text: by ``gateway``, out of ``interface``."""

    targets: Addresses
    gateway: Addresses
    interface: str


@dataclass(frozen=True, slots=True)
class Node:
    """A host: its interfaces, the first one its main one, its default gateway and other routes.

    ``way`` is how the director reaches a real server; empty for the other hosts.
    """

    name: str
    links: tuple[Link, ...]
    gateway: Addresses | None = None
    routes: tuple[Route, ...] = ()
    way: str = ""

    @property
    def addresses(self) -> Addresses:
        """The node's main addresses."""
        return self.links[0].addresses[0]


@dataclass(frozen=True, slots=True)
class Topology:
    """A lab to build.

    A network of two members is a veth pair; one with more is a bridge, which stands in a
    namespace of its own like the switch that it is. ``mtu`` is that of every link but those of
    `FAR`, which have ``far_mtu``. ``local_addresses`` are the director's for FULLNAT.
    """

    nodes: tuple[Node, ...]
    vip: Addresses
    mtu: int
    far_mtu: int
    local_addresses: tuple[Addresses, ...] = ()

    def members(self, network: Network) -> list[tuple[Node, Link]]:
        """Return who is attached to ``network``, in the order of the nodes."""
        return [
            (node, link) for node in self.nodes for link in node.links if link.network == network
        ]

    def mtu_of(self, network: Network) -> int:
        """Return the MTU of every link of a network."""
        return self.far_mtu if network == FAR else self.mtu

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
    check_count(servers)
    return modes(("nat",) * servers, mtu)


def modes(ways: Sequence[str], mtu: int, far_mtu: int | None = None) -> Topology:
    """Return the plan for real servers each reached in its own way: one of `WAYS` per server.

    There is a router only if a server is not NAT's. ``mtu`` is in bytes, and so is ``far_mtu``,
    that of the far network's links (None: the same). Raise UsageError for a number out of range.
    """
    check_count(len(ways))
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"the MTU of a lab is {MIN_MTU} to {MAX_MTU} bytes, not {mtu}")
    if far_mtu is not None and not MIN_MTU <= far_mtu <= mtu:
        raise UsageError(f"the far MTU of a lab is {MIN_MTU} to {mtu} bytes, not {far_mtu}")
    real = [_real_server(FIRST_SERVER + index, way) for index, way in enumerate(ways)]
    far = any(node.links[0].network == FAR for node in real)
    routed = set(ways) != {"nat"}
    local = tuple(BACK.host(number) for number in LOCALS) if "fullnat" in ways else ()
    sources = tuple(FRONT.host(number) for number in CLIENT_SOURCES)
    nodes = [
        Node("client", (Link("eth0", FRONT, sources),), FRONT.host(DIRECTOR)),
        _director(local, far=far),
        *([_router(far=far)] if routed else []),
        *real,
    ]
    return Topology(tuple(nodes), VIP, mtu, mtu if far_mtu is None else far_mtu, local)


def check_count(servers: int) -> None:
    """Raise UsageError for a number of real servers that a lab cannot have."""
    if not 1 <= servers <= MAX_SERVERS:
        raise UsageError(f"a lab has 1 to {MAX_SERVERS} real servers, not {servers}")


def _director(local: tuple[Addresses, ...], *, far: bool) -> Node:
    return Node(
        "director",
        (
            Link(FRONT.name, FRONT, (FRONT.host(DIRECTOR),)),
            Link(BACK.name, BACK, (BACK.host(DIRECTOR), *local)),
        ),
        routes=(Route(_prefixes(FAR), BACK.host(ROUTER), BACK.name),) if far else (),
    )


def _router(*, far: bool) -> Node:
    return Node(
        "router",
        tuple(
            Link(network.name, network, (network.host(ROUTER),))
            for network in (FRONT, BACK, *([FAR] if far else []))
        ),
        # So that errors about a reply find their way to the VIP, as from any router.
        routes=(Route(VIP, FRONT.host(DIRECTOR), FRONT.name),),
    )


def _real_server(number: int, way: str) -> Node:
    if way not in WAYS:
        raise UsageError(f"a real server's way is one of {', '.join(WAYS)}, not {way!r}")
    network = FAR if way in {"tun", "fullnat"} else BACK
    return Node(
        f"server{number - FIRST_SERVER + 1}",
        (Link("eth0", network, (network.host(number),)),),
        network.host(DIRECTOR if way == "nat" else ROUTER),
        way=way,
    )


def _prefixes(network: Network) -> Addresses:
    return Addresses(str(network.v4), str(network.v6))
