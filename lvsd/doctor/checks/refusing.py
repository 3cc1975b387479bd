"""Real servers that refuse connections, or let them time out, though packets get there.

As the daemon has seen it lately: a connection that opens puts an end to both. Of DR and TUN it sees
no answers; there clients that ask again count. A host that cannot be reached is a matter of other
checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor import questions
from lvsd.doctor.checks import bypass, firewall, forwarding, reply, rp_filter, virtual_address
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Counts, Server, Service, Snapshot

_CAUSES: Final = (
    firewall.CHECK,
    forwarding.CHECK,
    rp_filter.CHECK,
    reply.CHECK,
    virtual_address.CHECK,
    bypass.CHECK,
)
"""Where one of these says why a server's clients get no answer, that is all there is to say."""

FEW: Final = 3
"""So many connections in a row are no chance, such as a queue of connections that was full."""

LATELY_S: Final = 60
"""A refusal longer ago may be over, as nobody has tried since."""

FORGOTTEN_S: Final = 600
"""One longer ago than this says nothing any more."""


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers that refuse or do not answer, with how many and for how long."""
    silenced = frozenset[tuple[bytes, str]]().union(
        *(
            finding.silences
            for check in _CAUSES
            for finding in check.look(snapshot)
            if finding.level == Level.PROBLEM
        )
    )
    for service, server in snapshot.members():
        counts = server.counts
        if counts is None:
            continue
        if counts.refused and counts.refused_ago_s <= FORGOTTEN_S:
            yield _refusing(service, server, counts)
        if (server.address, server.mode) in silenced:
            continue
        if server.is_silent and snapshot.answers.replied(questions.plain(snapshot.machine, server)):
            yield _silent(service, server, counts)


def _refusing(service: Service, server: Server, counts: Counts) -> Finding:
    """Say that nobody listens there; a problem if it is sure, and now."""
    port = counts.refused_port or server.port
    now = counts.refused >= FEW and counts.refused_ago_s <= LATELY_S
    return Finding(
        Level.PROBLEM if now else Level.WARNING,
        f"{endpoint(server.address, port)} refused {_the_last(counts.refused)}, "
        f"{counts.refused_ago_s} s ago: nobody listens there, or a firewall rejects them",
        where=_where(service, server),
        remedy=_listeners(service, port or service.port),
        at=text(server.address),
    )


def _silent(service: Service, server: Server, counts: Counts) -> Finding:
    """Say that the host answers echoes, and no connections."""
    if server.mode in {"dr", "tun"}:
        level = Level.WARNING
        what = f"clients of {server.name} repeated {counts.repeated} SYNs since one was answered"
        remedy = "lvsd realserver status"
    else:
        level = Level.PROBLEM if counts.waiting >= FEW else Level.WARNING
        what = f"{server.name} answered none of the last {counts.waiting} connections, "
        what += f"for {counts.waiting_s} s"
        remedy = _listeners(service, server.port or service.port)
    return Finding(
        level,
        f"{what}: its program hangs, or a firewall drops them",
        where=_where(service, server),
        remedy=remedy,
        at=text(server.address),
    )


def _the_last(number: int) -> str:
    return f"the last {number} connections" if number > 1 else "the last connection"


def _where(service: Service, server: Server) -> str:
    return f"service {service.name}, server {text(server.address)} ({server.mode})"


def _listeners(service: Service, port: int) -> str:
    """Return the command that shows who listens."""
    protocol = "u" if service.protocol == "udp" else "t"
    return f"ss -l{protocol}np sport = :{port}"


CHECK = Check("refusing", "no real server refuses connections or lets them time out", look)
