"""A real server that is the director: its own stack serves, so the VIP must be its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the virtual addresses that packets are delivered to here, and nobody has here."""
    own = snapshot.machine.addresses
    for service in snapshot.services:
        if not service.vip or service.vip in own:
            continue
        for server in service.servers:
            if server.address in own and server.mode in {"dr", "tun"}:
                vip = text(service.vip)
                yield Finding(
                    Level.PROBLEM,
                    f"a real server of {service.name} is this host, which does not have {vip}",
                    where=f"service {service.name}, server {server.name} ({server.mode})",
                    remedy=f"ip address add {vip}/{8 * len(service.vip)} dev lo",
                )


CHECK = Check(
    "local server", "where the director is a real server itself, it has the virtual address", look
)
