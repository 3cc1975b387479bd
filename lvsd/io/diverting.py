"""From services to what has to be diverted for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvsd.core.related import ISAKMP_PORT
from lvsd.core.replies import is_ftp, reply_endpoints, with_forwarders
from lvsd.io.ruleset import Diverted
from lvsd.packet.view import TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from forwarders.base import Forwarder
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable


def diverted(services: ServiceTable) -> Diverted:
    """Return what has to be diverted for these services, and for removed ones.

    Connections outlive the removal of their server and of their service. The host, or a client,
    would reset what it got of them.
    """
    steps = diverting(services)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Elements = end.value
            return Diverted(**{name: frozenset(each) for name, each in found.sets.items()})


def diverting(services: ServiceTable) -> Generator[None, None, Elements]:
    """Find out the same step by step; return it at the end."""
    found = Elements()
    for service in _services(services):
        yield
        found.take_service(service)
    for server, forwarder in with_forwarders(services):
        yield
        found.take_server(server, forwarder)
    yield
    return found


class Elements:
    """What has to be diverted for the services and real servers that were taken in so far."""

    def __init__(self) -> None:
        self._sets: dict[str, set[Any]] = {field: set() for field in Diverted.__slots__}
        self.vips: set[bytes] = set()
        self.addresses: set[bytes] = set()
        """Real servers', packed."""

    def take_service(self, service: Service) -> None:
        """Take in what a service is reached by."""
        key, sets = service.key, self._sets
        if key.fwmark:
            sets["marks"].add(key.fwmark)
        else:
            self.vips.add(key.vip)
            sets["endpoints"].add((key.vip, key.protocol, key.vport))
            if is_ftp(service):
                sets["endpoints"].add((key.vip, TCP, 0))
        sets["local_addresses"].update(service.config.local.addresses)
        if _with_ipsec(service):
            sets["ipsec"].add(key.vip)

    def take_server(self, server: RealServer, forwarder: Forwarder) -> None:
        """Take in what comes back from a real server that packets go to by a forwarder."""
        self.addresses.add(server.address)
        way, sets = server.way, self._sets
        if forwarder.bypasses:
            if forwarder.needs_source and way.source is not None:
                sets["tunnel_ends"].add(way.source)
            return
        if forwarder.per_connection:
            kind = "fullnat_servers"
        else:
            kind = "own_servers" if way.is_local else "servers"
        sets[kind].update(reply_endpoints(server))
        if _with_ipsec(server.service) and kind == "servers":
            sets["ipsec_servers"].add(server.address)

    @property
    def sets(self) -> dict[str, set[Any]]:
        """It by the fields of `Diverted`."""
        return self._sets | {"not_forwarded": self.vips - self.addresses}


def _services(services: ServiceTable) -> Iterable[Service]:
    """Return the services, and those that removed servers with connections belonged to."""
    removed = (server.service for server in services.removed())
    return dict.fromkeys((*services, *removed))


def _with_ipsec(service: Service) -> bool:
    """Whether AH and ESP may belong to a service: that of a key exchange."""
    return service.key.protocol == UDP and service.key.vport in {0, ISAKMP_PORT}
