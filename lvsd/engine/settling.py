"""What follows from changes: of services and real servers, and of the network around.

Step by step, as there may be thousands of them; between two steps packets may be handled, and
services and servers come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders import Tun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvsd.core.balancer import Balancer
    from lvsd.core.service import RealServer
    from lvsd.core.values import Way


def settling(balancer: Balancer, ways: Mapping[bytes, Way]) -> Iterator[None]:
    """Let real servers have their ways, and the core know what it is to expect of them.

    ``ways`` are by the packed address; servers that are not there keep theirs.
    """
    tunnel_ports: set[int] = set()
    for server in _servers(balancer):
        way = ways.get(server.address)
        if way is not None and way != server.way:
            server.set_way(way)
        forwarder = server.config.forwarder
        if isinstance(forwarder, Tun) and forwarder.port:
            tunnel_ports.add(forwarder.port)
        yield
    balancer.network.tunnel_ports = frozenset(tunnel_ports)
    yield from balancer.strays.learning()


def _servers(balancer: Balancer) -> Iterator[RealServer]:
    """Yield all real servers, those that are removed and have connections last."""
    for service in tuple(balancer.services):
        yield from tuple(service.servers)
    yield from tuple(balancer.services.departed())
