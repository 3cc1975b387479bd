"""What follows from changes: of services and real servers, and of the network around.

Step by step, as there may be thousands of them; between two steps packets may be handled, and
services and servers come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders import Tun

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from lvsd.core.balancer import Balancer
    from lvsd.core.service import RealServer
    from lvsd.core.values import Way


def settling(
    balancer: Balancer, ways: Mapping[bytes, Way], *, is_changed: bool = True
) -> Generator[None, None, bool]:
    """Let real servers have their ways, and the core know what it is to expect of them.

    ``ways`` are by the packed address; servers that are not there keep theirs. ``is_changed``:
    services or servers did. Return whether other packets may have to be diverted now, which an
    MTU alone does not bring about.
    """
    tunnel_ports: set[int] = set()
    for server in _servers(balancer):
        way = ways.get(server.address)
        if way is not None and way != server.way:
            is_changed |= way._replace(mtu=0) != server.way._replace(mtu=0)
            server.set_way(way)
        forwarder = server.config.forwarder
        if isinstance(forwarder, Tun) and forwarder.port:
            tunnel_ports.add(forwarder.port)
        yield
    balancer.network.tunnel_ports = frozenset(tunnel_ports)
    if is_changed:
        yield from balancer.strays.learning()
    return is_changed


def _servers(balancer: Balancer) -> Iterator[RealServer]:
    """Yield all real servers, those that are removed and have connections last."""
    for service in tuple(balancer.services):
        yield from tuple(service.servers)
    yield from tuple(balancer.services.removed())
