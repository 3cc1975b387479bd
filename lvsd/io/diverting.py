"""From services to what has to be diverted for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvsd.core.related import ISAKMP_PORT
from lvsd.core.replies import is_ftp, reply_endpoints, with_forwarders
from lvsd.io.ruleset import Diverted
from lvsd.packet.view import TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.io.ruleset import Endpoint


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
            found: Diverted = end.value
            return found


def diverting(services: ServiceTable) -> Generator[None, None, Diverted]:
    """Find out the same step by step; return it at the end."""
    endpoints: set[Endpoint] = set()
    marks: set[int] = set()
    replies: dict[str, set[Endpoint]] = {"nat": set(), "own": set(), "fullnat": set()}
    local_addresses: set[bytes] = set()
    tunnel_ends: set[bytes] = set()
    ipsec: set[bytes] = set()
    ipsec_servers: set[bytes] = set()
    vips: set[bytes] = set()
    addresses: set[bytes] = set()
    for service in _services(services):
        yield
        key = service.key
        if key.fwmark:
            marks.add(key.fwmark)
        else:
            vips.add(key.vip)
            endpoints.add((key.vip, key.protocol, key.vport))
            if is_ftp(service):
                endpoints.add((key.vip, TCP, 0))
        local_addresses.update(service.config.local.addresses)
        if _with_ipsec(service):
            ipsec.add(key.vip)
    for server, forwarder in with_forwarders(services):
        yield
        addresses.add(server.address)
        way = server.way
        if forwarder.bypasses:
            if forwarder.needs_source and way.source is not None:
                tunnel_ends.add(way.source)
            continue
        kind = "fullnat" if forwarder.per_connection else "own" if way.is_local else "nat"
        replies[kind] |= set(reply_endpoints(server))
        if _with_ipsec(server.service) and kind == "nat":
            ipsec_servers.add(server.address)
    yield
    sets: dict[str, set[Any]] = {
        "endpoints": endpoints,
        "marks": marks,
        "servers": replies["nat"],
        "own_servers": replies["own"],
        "fullnat_servers": replies["fullnat"],
        "local_addresses": local_addresses,
        "tunnel_ends": tunnel_ends,
        "ipsec": ipsec,
        "ipsec_servers": ipsec_servers,
        "not_forwarded": vips - addresses,
    }
    found: dict[str, frozenset[Any]] = {}
    for name, elements in sets.items():
        yield
        found[name] = frozenset(elements)
    return Diverted(**found)


def _services(services: ServiceTable) -> Iterable[Service]:
    """Return the services, and those that removed servers with connections belonged to."""
    removed = (server.service for server in services.removed())
    return dict.fromkeys((*services, *removed))


def _with_ipsec(service: Service) -> bool:
    """Whether AH and ESP may belong to a service: that of a key exchange."""
    return service.key.protocol == UDP and service.key.vport in {0, ISAKMP_PORT}
