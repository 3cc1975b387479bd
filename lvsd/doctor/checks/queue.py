"""Packets that were lost before lvsd saw them: they came faster than it took them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what the queue has lost since the daemon began."""
    daemon = snapshot.daemon
    if daemon is None:
        return
    if lost := daemon.count("queue", "kernel_dropped"):
        yield Finding(
            Level.WARNING,
            f"packets came faster than lvsd took them: {lost} were dropped "
            f"{daemon.age('queue', 'kernel_dropped')}",
            where="NFQUEUE",
            remedy="queue_length = 16384",
            at="the configuration, [daemon]",
        )
    if errors := daemon.count("queue", "handler_errors"):
        yield Finding(
            Level.PROBLEM if daemon.lately("queue", "handler_errors") else Level.WARNING,
            f"{errors} packets were lost to an error in lvsd, or in a scheduler, "
            f"{daemon.age('queue', 'handler_errors')}",
            remedy="journalctl -u lvsd -p err",
        )


CHECK = Check("queue", "no packet was lost on its way to lvsd", look)
