"""The way to each real server: there is one; for DR it is an Ethernet link, without a router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Snapshot
    from lvsd.net.ways import Way


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers that no packet can be sent to from here."""
    for server in snapshot.servers():
        way = snapshot.machine.ways.get(server.address)
        name = text(server.address)
        if way is None:
            yield Finding(
                Level.PROBLEM,
                f"no route to {name}",
                where=f"server {name} ({server.mode})",
                remedy=f"ip route add {_prefix(server)} via GATEWAY",
            )
        elif server.mode == "dr":
            yield from _direct(server, way)


def _direct(server: Server, way: Way) -> Iterator[Finding]:
    """Want the frame to have somewhere to go."""
    name = text(server.address)
    where = f"server {name} (dr), interface {way.name}"
    if not way.is_ethernet:
        yield Finding(
            Level.PROBLEM,
            f"DR sends frames, but {way.name} is not Ethernet",
            where=where,
            remedy='forward = "tun"',
            at="the configuration",
        )
    elif way.gateway is not None and way.gateway != server.address:
        yield Finding(
            Level.PROBLEM,
            f"DR needs {name} on a link of this host, but it is behind {text(way.gateway)}",
            where=where,
            remedy=f"ip route replace {_prefix(server)} dev INTERFACE",
        )


def _prefix(server: Server) -> str:
    return f"{text(server.address)}/{8 * len(server.address)}"


CHECK = Check("route", "there is a route to every real server", look)
