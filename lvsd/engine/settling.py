"""What follows from changes: of services and real servers, and of the network around.

Step by step, as there may be thousands of them; between two steps packets may be handled, and
services and servers come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders import Tun
from lvsd.core.commands import ServerChange, ServiceChange
from lvsd.io.diverting import Elements

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Changes
    from lvsd.core.service import RealServer, Service
    from lvsd.core.values import Way
    from lvsd.engine.diversions import Diversions


FEW: Final = 50
"""Changes that are followed up by themselves; of more, everything is looked at."""


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
            is_changed |= server.set_way(way)
        forwarder = server.config.forwarder
        if forwarder.needs_source and isinstance(forwarder, Tun) and forwarder.port:
            tunnel_ports.add(forwarder.port)
        yield
    balancer.network.tunnel_ports = frozenset(tunnel_ports)
    if is_changed:
        yield from balancer.strays.learning()
    return is_changed


def settling_few(
    balancer: Balancer,
    ways: Mapping[bytes, Way],
    diversions: Diversions,
    number: int,
    changes: Changes,
) -> Generator[None, None, bool | None]:
    """Do what follows from what came by a few changes, without looking at anything else.

    ``number`` is that of their list. Return whether that was all that follows; it is not where
    something went, which does no harm for a while. Return None where nothing was done: everything
    has to be looked at first.
    """
    if len(changes.all) > FEW:
        return None
    found = Elements()
    is_all = True
    for change in changes.all:
        if not (isinstance(change, ServiceChange | ServerChange) and change.is_of_the_network):
            continue
        if change.after is None:
            is_all = False
        elif change.before is not None:
            return None
        elif balancer.services.has(change.service):
            service = balancer.services.get(change.service)
            if not _take(change, service, ways, balancer, found):
                return None
            yield
    return is_all if (yield from diversions.telling_also(number, found)) else None


def _take(
    change: ServiceChange | ServerChange,
    service: Service,
    ways: Mapping[bytes, Way],
    balancer: Balancer,
    found: Elements,
) -> bool:
    """Take in what came to a service, or the service itself; return whether that was possible.

    It is not where connections of an earlier one are taken over. What went again is passed over.
    """
    if isinstance(change, ServiceChange):
        if service.removed:
            return False
        found.take_service(service)
    elif service.has(change.address, change.port):
        server = service.find(change.address, change.port)
        forwarder = server.config.forwarder
        if server.paths or (isinstance(forwarder, Tun) and forwarder.port):
            return False
        way = ways.get(server.address)
        if way is not None and way != server.way:
            server.set_way(way)
        balancer.strays.learn_also(server)
        found.take_server(server, server.effective_forwarder)
    return True


def _servers(balancer: Balancer) -> Iterator[RealServer]:
    """Yield all real servers, those that are removed and have connections last."""
    for service in tuple(balancer.services):
        yield from tuple(service.servers)
    yield from tuple(balancer.services.removed())
