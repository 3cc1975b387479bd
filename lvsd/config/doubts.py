"""What is allowed in a configuration, and will hardly do what it was written for: warnings.

A file with warnings is good. They are of two kinds: what the file says by itself (`of_file`), and
what it says of a machine that is not like that now (`of_host`). The second may be right when the
file is checked elsewhere, or before the interface is there; so it is never an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.config.faults import Fault, shown
from lvsd.config.fields import scheduler_class
from lvsd.config.modes import PORT_STAYS
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from lvsd.config.faults import Key
    from lvsd.config.model import Config, Service


@dataclass(frozen=True, slots=True)
class Host:
    """The machine, as far as a configuration speaks of it. Addresses are packed.

    ``forwarding`` is by IP version; a version that the kernel does not have is missing.
    ``folders`` are paths at which there are directories.
    """

    interfaces: Collection[str]
    addresses: Collection[bytes]
    forwarding: Mapping[int, bool]
    folders: Collection[Path] = ()


def of_file(config: Config) -> Iterator[Fault]:
    """Yield what the file alone shows to do nothing, or something else than it seems to."""
    virtual: dict[bytes, str] = {}
    placed: dict[bytes, tuple[str, Key]] = {}
    for service in config.services:
        if service.address:
            virtual.setdefault(service.address.address, service.name)
    for at, service in _services(config):
        if not any(server.weight for server in service.servers):
            wrong = "all its servers have weight 0" if service.servers else "it has no server"
            yield Fault(at, f"{wrong}: every new connection is refused")
        if service.slow_start_s and scheduler_class(service.scheduler).slow_start == "none":
            fault = f"{service.slow_start_s} with scheduler {service.scheduler} does nothing"
            yield Fault((*at, "slow_start_s"), f"{fault}: {_instead(service.scheduler)}")
        for index, server in enumerate(service.servers):
            address = server.address.address
            if (other := virtual.get(address)) and other != service.name:
                name = f"the virtual address of {shown(other)}"
                fault = f"{text(address)} is {name}; its service takes no packets of lvsd's own"
                yield Fault((*at, "server", index, "address"), fault)
        yield from _idle_ports(at, service)
        yield from _quorum(at, service)
        if service.interface and service.address:
            address, key = service.address.address, (*at, "interface")
            first, where = placed.setdefault(address, (service.interface, key))
            if first != service.interface:
                fault = f"{text(address)} is put on {shown(service.interface)} and {shown(first)}"
                yield Fault(key, fault, where)


def _idle_ports(at: Key, service: Service) -> Iterator[Fault]:
    """Name a port behind a mark where a packet keeps its own."""
    for index, server in enumerate(service.servers):
        mode = service.forward_to(server)
        if service.fwmark and server.address.port and mode in PORT_STAYS:
            fault = f"port {server.address.port} does nothing: {mode} changes no port"
            yield Fault((*at, "server", index, "address"), fault)


def _quorum(at: Key, service: Service) -> Iterator[Fault]:
    """Name a quorum that all servers together do not reach."""
    weight = sum(server.weight for server in service.servers if not server.backup)
    if service.check and service.check.common.quorum > max(weight, 1):
        fault = f"{service.check.common.quorum} is never reached: its servers weigh {weight}"
        yield Fault((*at, "check", "quorum"), fault)


def _instead(scheduler: str) -> str:
    """Return why slow start does nothing with a scheduler, and what would do instead."""
    if scheduler == "lc":
        return "it looks at no weight; wlc picks the same where all weights are equal"
    return "its weights say which clients are whose"


def of_host(config: Config, host: Host) -> Iterator[Fault]:
    """Yield what the file says of this machine that is not so now."""
    if config.daemon.control in host.folders:
        fault = f"{shown(str(config.daemon.control))} is a directory, and no socket can be there"
        yield Fault(("daemon", "control"), fault)
    own = {*host.addresses, *_put_there(config)}
    for at, service in _services(config):
        if service.interface and service.interface not in host.interfaces:
            fault = f"{shown(service.interface)} is no interface of this machine now"
            yield Fault((*at, "interface"), fault)
        for index, address in enumerate(service.local_addresses):
            if address not in own:
                fault = f"{text(address)} is no address of this machine now"
                yield Fault((*at, "local_addresses", index), fault)
        yield from _unforwarded(at, service, config, host)


def _unforwarded(at: Key, service: Service, config: Config, host: Host) -> Iterator[Fault]:
    """Want the kernel to forward NAT's packets, unless lvsd sees to it."""
    family = service.address_family
    is_nat = "nat" in {service.forward_to(server) for server in service.servers}
    if not is_nat or host.forwarding.get(family):
        return
    if family not in host.forwarding:
        yield Fault(at, f"this kernel has no IPv{family}")
    elif not config.sysctl.forwarding:
        fault = f"the kernel does not forward IPv{family} now, and lvsd is told to leave that"
        yield Fault(("sysctl", "forwarding"), f"{fault}: no packet reaches a NAT server")


def _services(config: Config) -> Iterator[tuple[Key, Service]]:
    for index, service in enumerate(config.services):
        yield ("service", index), service


def _put_there(config: Config) -> Iterator[bytes]:
    """Yield the virtual addresses that lvsd itself puts on an interface."""
    for service in config.services:
        if service.interface and service.address:
            yield service.address.address
