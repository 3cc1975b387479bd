"""From a configuration to a director, and from its services to what has to be diverted.

Part of the composition root: pure, but it knows configuration, core and io.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forwarders import Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService, SetTimeouts
from lvsd.core.local_pool import LocalPool
from lvsd.core.related import ISAKMP_PORT
from lvsd.core.replies import is_ftp, reply_endpoints, with_forwarders
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.core.states import SCTP, TCP, UDP
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.io.ruleset import Diverted

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from lvsd.config import model
    from lvsd.core.commands import Command
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.io.ruleset import Endpoint

PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}


def assemble(config: model.Config, now: float, origin: Origin = NEW) -> Balancer:
    """Return a director that has the configuration's services and settings."""
    sysctl = config.sysctl
    settings = Settings(
        expire_nodest_conn=sysctl.expire_nodest_conn,
        expire_quiescent_template=sysctl.expire_quiescent_template,
        conn_reuse_mode=sysctl.conn_reuse_mode,
        sloppy_tcp=sysctl.sloppy_tcp,
        sloppy_sctp=sysctl.sloppy_sctp,
        max_connections=config.daemon.max_connections,
    )
    balancer = Balancer(make_scheduler, settings, now=now, origin=origin)
    balancer.apply(commands(config), now)
    balancer.network.tunnel_ports = frozenset(
        server.config.forwarder.port
        for service in balancer.services
        for server in service.servers
        if isinstance(server.config.forwarder, Tun) and server.config.forwarder.port
    )
    return balancer


def commands(config: model.Config) -> Iterator[Command]:
    """Yield what makes a director that has nothing have what a configuration says."""
    timeouts = config.timeouts
    yield SetTimeouts(timeouts.tcp_s, timeouts.tcp_fin_s, timeouts.udp_s)
    for entry in config.services:
        service = service_config(entry)
        yield AddService(service)
        for server in entry.servers:
            yield AddServer(service.key, server_config(entry, server))


def forwarded(config: model.Config) -> set[int]:
    """Return the IP versions, 4 and 6, of which the kernel has to forward packets: NAT's.

    What goes another way leaves by a socket, as the host's own. A service without real servers
    counts by the way that it says itself.
    """
    return {
        entry.address_family
        for entry in config.services
        if Nat.name in {entry.forward_to(server) for server in entry.servers}
        or (not entry.servers and entry.forward == Nat.name)
    }


def virtual_addresses(config: model.Config) -> Iterator[tuple[str, bytes]]:
    """Yield each interface with an address that lvsd is to put on it."""
    for service in config.services:
        if service.interface and service.address:
            yield service.interface, service.address.address


def local_ranges(config: model.Config) -> set[tuple[int, int]]:
    """Return the ranges of the local ports that FULLNAT gives, of all services that have it."""
    return {
        (entry.local_ports.low, entry.local_ports.high)
        for entry in config.services
        if entry.local_addresses
    }


def service_config(entry: model.Service) -> ServiceConfig:
    """Return what a ``[[service]]`` wants of the service."""
    if entry.address is None:
        key = ServiceKey(fwmark=entry.fwmark or 0, family=entry.address_family)
    else:
        key = ServiceKey(
            protocol=PROTOCOLS[entry.protocol or "tcp"],
            vip=entry.address.address,
            vport=entry.address.port,
            family=entry.address_family,
        )
    return ServiceConfig(
        key,
        scheduler=entry.scheduler,
        flags=entry.scheduler_flags,
        name=entry.name,
        persistence_s=entry.persistence_s or 0,
        prefix=entry.persistence_netmask,
        one_packet=entry.one_packet,
        max_connections=entry.max_connections or 0,
        mss_clamp=entry.mss_clamp,
        local=LocalPool(entry.local_addresses, *entry.local_ports),
        timing=Timing(
            entry.tcp_timeout_s or 0, entry.udp_timeout_s or 0, entry.udp_answered_timeout_s or 0
        ),
    )


def server_config(service: model.Service, server: model.Server) -> ServerConfig:
    """Return what a ``[[service.server]]`` wants of the real server."""
    return ServerConfig(
        server.address.address,
        server.address.port,
        service.forwarder(server),
        weight=server.weight,
        upper=server.upper_threshold,
        lower=server.lower_threshold,
    )


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
    found = Diverted(
        endpoints=frozenset(endpoints),
        marks=frozenset(marks),
        servers=frozenset(replies["nat"]),
        own_servers=frozenset(replies["own"]),
        fullnat_servers=frozenset(replies["fullnat"]),
        local_addresses=frozenset(local_addresses),
        tunnel_ends=frozenset(tunnel_ends),
        ipsec=frozenset(ipsec),
        ipsec_servers=frozenset(ipsec_servers),
        not_forwarded=frozenset(vips - addresses),
    )
    yield
    return found


def _services(services: ServiceTable) -> Iterable[Service]:
    """Return the services, and those that removed servers with connections belonged to."""
    departed = (server.service for server in services.departed())
    return dict.fromkeys((*services, *departed))


def _with_ipsec(service: Service) -> bool:
    """Whether AH and ESP may belong to a service: that of a key exchange."""
    return service.key.protocol == UDP and service.key.vport in {0, ISAKMP_PORT}
