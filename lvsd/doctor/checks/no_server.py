"""Services of which no real server takes new connections: lvsd refuses their clients itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Service, Snapshot

_SELECTORS: Final = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the services without a usable real server, and why each has none.

    A service with persistence may still carry clients that it knows, and takes no others.
    """
    for service in snapshot.services:
        if any(_is_usable(server) for server in service.servers):
            continue
        yield Finding(
            Level.PROBLEM,
            f"service {service.name}: no server takes connections ({_why(service)})",
            remedy=_remedy(service),
            at="" if _drained(service) else "the configuration",
        )


def _is_usable(server: Server) -> bool:
    return server.weight > 0 and not server.is_drained


def _drained(service: Service) -> list[Server]:
    """Return the servers that an end of their drain would make usable."""
    return [server for server in service.servers if server.is_drained and server.weight > 0]


def _why(service: Service) -> str:
    drained, weightless = len(_drained(service)), sum(not each.weight for each in service.servers)
    reasons = [f"{drained} drained"] * bool(drained)
    reasons += [f"{weightless} of weight 0"] * bool(weightless)
    return ", ".join(reasons) or "it has none"


def _remedy(service: Service) -> str:
    """Return the command that takes one server back, or what the file has to say instead."""
    drained = _drained(service)
    if drained:
        words = ["lvsadm undrain", drained[0].name]
        if service.protocol in _SELECTORS:
            words += [_SELECTORS[service.protocol], endpoint(service.vip, service.port)]
        return " ".join(words)
    wanted = "give one of its servers a weight" if service.servers else "add a server to it"
    return f"{wanted}, then lvsd reload"


CHECK = Check("no server", "every service has a server that takes connections", look)
