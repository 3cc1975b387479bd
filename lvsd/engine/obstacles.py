"""What keeps packets from real servers although the engine is well, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lvsd.core.balancer import Balancer
    from lvsd.core.service import RealServer
    from lvsd.running.complaints import Complaints, Obstacle

UNANSWERED: Final = 3
"""Repeated SYNs, with no client answered in between, from which on a server is called silent."""

NAMED: Final = 5
"""Servers that are told of one by one; of more there is one line with the first of them."""

_SILENT: Final = "clients repeat their SYNs: a real server seems not to answer them"


def looking(
    balancer: Balancer, problems: Callable[[], Mapping[bytes, str]], complaints: Complaints
) -> Iterator[None]:
    """Log, step by step, what schedulers raised while they were told of something, and obstacles.

    ``problems`` tells why a real server of direct routing cannot be reached, by its address.
    """
    for service in tuple(balancer.services):
        if service.fault is not None:
            complaints.of_packets(service.fault)
            service.fault = None
        yield
    found = []
    for each in of_services(balancer, problems()):
        if each is not None:
            found.append(each)
        yield
    complaints.obstacles(found)


def of_services(balancer: Balancer, unreachable: Mapping[bytes, str]) -> Iterator[Obstacle | None]:
    """Yield the obstacles on the ways to real servers; None now and then, when there is none.

    Packets may be handled between two of them. ``unreachable`` says why frames to an address
    cannot be sent. Servers without a route, which a change of routes can make of all of them, are
    one obstacle where they are more than `NAMED`.
    """
    lost: list[RealServer] = []
    own = balancer.network.local_addresses or frozenset()
    for service in tuple(balancer.services):
        for address in service.config.local.addresses:
            if address not in own:
                remedy = f"ip address add {text(address)}/{8 * len(address)} dev INTERFACE"
                yield "a local address is not on this host", text(address), remedy
        for server in tuple(service.servers):
            yield None
            if server.way.source is None:
                lost.append(server)
            elif _is_misled(server) and service.key.vip not in {b"", *own}:
                vip = text(service.key.vip)
                remedy = f"make {vip} an address of this host, e.g. by `interface`"
                yield "a real server is this host, but the VIP is not", _name(server), remedy
            if server.unanswered >= UNANSWERED:
                remedy = "lvsd doctor; on the real server: lvsd realserver status"
                yield _SILENT, f"{_name(server)} of {service.config.name}", remedy
    yield from _without_route(lost)
    for address, problem in unreachable.items():
        yield problem, text(address), "DR needs real servers on a link of the director's"


def _is_misled(server: RealServer) -> bool:
    """Whether the host itself is a server that gets packets to the VIP as they are."""
    return server.way.is_local and server.effective_forwarder.bypasses


def _without_route(servers: list[RealServer]) -> Iterator[Obstacle]:
    what, remedy = "no route to a real server", "see `ip route`"
    if len(servers) <= NAMED:
        for server in servers:
            yield what, _name(server), remedy
        return
    first = ", ".join(map(_name, servers[:NAMED]))
    yield what, f"{first} and {len(servers) - NAMED} more", remedy


def _name(server: RealServer) -> str:
    return endpoint(server.address, server.port)
