"""The daemon, and the nftables table by which it gets its packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import remedies
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.io.guard import HOLD
from lvsd.io.ruleset import DRAFT, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Compare who runs with which table stands.

    A table without a daemon drops every packet for a virtual service. A daemon puts a table that
    is missing up again within a second or so, or cannot.
    """
    tables = snapshot.machine.tables
    if snapshot.daemon is None:
        yield Finding(
            Level.WARNING,
            f"its counters are unknown, as it does not answer: {snapshot.silence}",
            remedy="systemctl start lvsd",
        )
        if tables and not snapshot.machine.queue_is_read:
            yield Finding(
                *_left(tables),
                where="nftables " + ", ".join(f"table inet {name}" for name in tables),
                remedy=remedies.cleanup(snapshot),
            )
    elif TABLE not in tables:
        yield Finding(
            Level.PROBLEM,
            "the nftables table was removed: no packet reaches lvsd",
            where=f"nftables table inet {TABLE}",
            remedy="systemctl restart lvsd",
        )
    if snapshot.daemon is not None and snapshot.daemon.count("engine", "forker_ended"):
        yield Finding(
            Level.WARNING,
            "the process that forks engines has ended: should the engine end, so does lvsd",
            where="process lvsd-forker",
            remedy="systemctl restart lvsd",
        )
    if snapshot.answers.unasked:
        yield Finding(
            Level.WARNING,
            f"too many servers: {snapshot.answers.unasked} questions were not sent",
        )


def _left(tables: tuple[str, ...]) -> tuple[Level, str]:
    """Return how bad it is that these tables stand without a daemon, and what it means."""
    if set(tables) == {DRAFT}:
        left = "a killed lvsd left a draft of its rules behind, which no packet meets"
        return Level.WARNING, left
    if set(tables) == {HOLD}:
        left = (
            "lvsd was stopped: for `hold_s` seconds from then on its services' packets are dropped"
        )
        return Level.WARNING, left
    return (
        Level.PROBLEM,
        "lvsd does not run, but its nftables table is still there: packets are dropped",
    )


CHECK = Check("daemon", "lvsd runs, and packets are diverted to it", look)
