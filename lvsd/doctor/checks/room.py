"""Connections that found no room in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.finding import Check, Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot

NEARLY: Final = 0.9
"""From this part of the table on it is nearly full."""


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield that connections found no room within a minute, or that the table is nearly full."""
    daemon = snapshot.daemon
    if daemon is None:
        return
    evicted, refused = daemon.count("table", "evicted"), daemon.count("table", "refused")
    entries, most = daemon.count("table", "entries"), daemon.count("table", "max_connections")
    if daemon.count("table", "short_of_room"):
        by_service = daemon.groups.get("table_lost_by_service", {})
        worst = max(by_service, key=lambda name: by_service[name], default="")
        yield Finding(
            Level.WARNING,
            f"no room for new connections: {evicted} that were still opening gave way, "
            f"{refused} were refused since lvsd began",
            where=f"service {worst}" if worst else "",
            remedy="max_connections = ...",
            at="the configuration, [daemon], or [[service]] to bound the one that is flooded",
        )
    elif most and entries >= NEARLY * most:
        yield Finding(
            Level.WARNING,
            f"the connection table is nearly full: {entries} of {most} entries",
            remedy="max_connections = ...",
            at="the configuration, [daemon]",
        )


CHECK = Check("room", "there is room for new connections", look)
