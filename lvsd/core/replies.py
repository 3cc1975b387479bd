"""What the replies of real servers come from: which endpoints, and for which service."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from lvsd.core.service import FTP_PORT
from lvsd.packet.view import SCTP, TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forwarders.base import Forwarder
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable

Endpoint: TypeAlias = tuple[bytes, int, int]
"""Address (packed), IP protocol number, port (host order; 0: any port)."""


def is_ftp(service: Service) -> bool:
    """Whether a service takes the data connections of passive FTP, or did so."""
    key = service.key
    return key.protocol == TCP and key.vport == FTP_PORT and service.was_persistent


def with_forwarders(services: ServiceTable) -> Iterator[tuple[RealServer, Forwarder]]:
    """Yield each real server with each forwarder that takes packets to it.

    Connections keep theirs when the server gets another, or is removed. Services and servers may
    come and go between two; what comes and goes meanwhile may be left out, or be there twice.
    """
    for service in tuple(services):
        for server in tuple(service.servers):
            yield from _with_forwarders(server)
    for server in tuple(services.removed()):
        yield from _with_forwarders(server)


def _with_forwarders(server: RealServer) -> Iterable[tuple[RealServer, Forwarder]]:
    if not server.paths:  # as most have none at the start, when there are many to look at
        return ((server, server.effective_forwarder),) if server.available else ()
    found = {path.forwarder for path in server.paths.values() if path.users}
    if server.available:
        found.add(server.effective_forwarder)
    return [(server, forwarder) for forwarder in found]


def reply_endpoints(server: RealServer) -> tuple[Endpoint, ...]:
    """Return what a real server's replies come from: any port where the client chooses it."""
    service = server.service
    key = service.key
    any_port = is_ftp(service) or (not key.vport and service.was_persistent)
    address, port = server.address, 0 if any_port else server.port
    if key.fwmark:
        return (address, TCP, port), (address, UDP, port), (address, SCTP, port)
    return ((address, key.protocol, port),)
