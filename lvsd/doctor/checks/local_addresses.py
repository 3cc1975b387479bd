"""FULLNAT's local addresses: they are this host's, and have ports to spare.

An address lends each port once to every real server and port. The daemon refuses connections,
and counts them as `no_local_port`, when no address of its own has a free one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Service, Snapshot

FULL: Final = 0.8
"""The part of the ports in use from which on it is time for another local address."""


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield foreign local addresses, and pools that are, were or will soon be exhausted."""
    machine = snapshot.machine
    foreign = False
    fullest = 0.0
    served = [
        service
        for service in snapshot.services
        if any(server.mode == "fullnat" for server in service.servers)
    ]
    for service in served:
        fullest = max(fullest, _fill(snapshot, service))
        for address in service.local_addresses:
            if address in machine.addresses:
                continue
            foreign = True
            yield Finding(
                Level.PROBLEM,
                f"the local address {text(address)} is not on this host",
                where=f"service {service.name}",
                remedy=f"ip address add {text(address)}/{8 * len(address)} "
                f"dev {_interface(snapshot, service)}",
            )
    refused = snapshot.daemon.drops.get("no_local_port", 0) if snapshot.daemon else 0
    if refused and not foreign:
        now = f"{fullest:.0%} of the ports are in use now" if fullest else "since it began"
        yield Finding(
            Level.PROBLEM if fullest >= FULL else Level.WARNING,
            f"connections were refused because no local port was free: {refused} packets; {now}",
            where="services " + ", ".join(service.name for service in served),
            remedy="local_addresses = [...]  # one more",
            at="the configuration, [[service]]",
        )
    elif fullest >= FULL:
        yield Finding(
            Level.WARNING,
            f"{fullest:.0%} of the local ports towards a real server are in use",
            where="services " + ", ".join(service.name for service in served),
            remedy="local_addresses = [...]  # one more",
            at="the configuration, [[service]]",
        )


def _fill(snapshot: Snapshot, service: Service) -> float:
    """Return which part of its ports a service has in use towards its busiest server."""
    if service.local_ports is None:
        return 0.0
    low, high = service.local_ports
    own = sum(address in snapshot.machine.addresses for address in service.local_addresses)
    room = own * (high - low + 1)
    used = [server.counts.connections for server in service.servers if server.counts]
    return max(used, default=0) / room if room else 0.0


def _interface(snapshot: Snapshot, service: Service) -> str:
    """Return the interface that leads to the service's servers."""
    ways = (snapshot.machine.ways.get(server.address) for server in service.servers)
    return next((way.name for way in ways if way), "INTERFACE")


CHECK = Check("local addresses", "FULLNAT's local addresses are here, with ports to spare", look)
