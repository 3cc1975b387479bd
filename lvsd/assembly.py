"""From a configuration to commands, and to a director that has done them.

Part of the composition root: pure, but it knows configuration and core.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from forwarders import Nat
from lvsd import keys
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService, SetTimeouts
from lvsd.core.sequence_numbers import NEW
from lvsd.core.settings import Settings
from lvsd.core.states import SCTP, TCP, UDP
from lvsd.core.values import ServerConfig, ServiceKey
from lvsd.core.values import service_config as configured
from lvsd.core.wanted import Wanted
from lvsd.engine.settling import settling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.config import model
    from lvsd.core.commands import Command
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.values import ServiceConfig

PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}

_SERVER: Final = [each.at for each in keys.SERVER]
_of_service: Final = attrgetter(*(each.key for each in keys.SERVICE))
_of_server: Final = attrgetter(*(each.key for each in keys.SERVER))


def assemble(config: model.Config, now: float, origin: Origin = NEW) -> Balancer:
    """Return a director that has the configuration's services and settings, for `explain`.

    Nobody comes back to it slowly; so weights are as people have written them.
    """
    balancer = Balancer(make_scheduler, settings_of(config), now=now, origin=origin)
    balancer.apply(map(_at_once, commands(config)), now)
    for _ in settling(balancer, {}):
        pass
    return balancer


def _at_once(command: Command) -> Command:
    if isinstance(command, AddService):
        return replace(command, config=replace(command.config, slow_start_s=0))
    return command


def settings_of(config: model.Config) -> Settings:
    """Return the settings that a configuration has for the whole core."""
    sysctl = config.sysctl
    return Settings(
        expire_nodest_conn=sysctl.expire_nodest_conn,
        expire_quiescent_template=sysctl.expire_quiescent_template,
        conn_reuse_mode=sysctl.conn_reuse_mode,
        sloppy_tcp=sysctl.sloppy_tcp,
        sloppy_sctp=sysctl.sloppy_sctp,
        max_connections=config.daemon.max_connections,
    )


def commands(config: model.Config) -> Iterator[Command]:
    """Yield what makes a director that has nothing have what a configuration says."""
    timeouts = config.timeouts
    yield SetTimeouts(timeouts.tcp_s, timeouts.tcp_fin_s, timeouts.udp_s)
    for entry in config.services:
        service = service_config(entry)
        yield AddService(service)
        for server in entry.servers:
            yield AddServer(service.key, server_config(entry, server))


def wanted_of(config: model.Config) -> Wanted:
    """Return what a configuration wants."""
    wanted = nothing_of(config)
    for _ in wanted.beginning(commands(config)):
        pass
    return wanted


def nothing_of(config: model.Config) -> Wanted:
    """Return what it wants without its services, real servers and timeouts."""
    return Wanted((0, 0, 0), settings_of(config))


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
    said = zip(keys.SERVICE, _of_service(entry), strict=True)
    return configured(
        key, {each.at: each.default if value is None else value for each, value in said}
    )


def server_config(service: model.Service, server: model.Server) -> ServerConfig:
    """Return what a ``[[service.server]]`` wants of the real server."""
    return ServerConfig(
        server.address.address,
        server.address.port,
        service.forwarder(server),
        **dict(zip(_SERVER, _of_server(server), strict=True)),
    )
