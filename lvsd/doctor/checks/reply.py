"""Replies come back: NAT's to the director as a gateway, FULLNAT's to its local addresses.

Seen by echoes. Where a server answers none, nothing can be told by them; then it counts whether
the daemon has seen a reply within the last minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers whose replies do not come back here, though packets get there."""
    machine, answers = snapshot.machine, snapshot.answers
    for service, server in snapshot.members("fullnat"):
        for local in service.local_addresses:
            echo = questions.from_local(server, local)
            if local not in machine.addresses or echo is None:
                continue
            if _reached(snapshot, server) and not answers.replied(echo):
                yield _astray(snapshot, server, local)
    for server in snapshot.servers("nat"):
        echo = questions.from_outside(server)
        if not server.answers and _reached(snapshot, server) and not answers.replied(echo):
            yield _elsewhere(snapshot, server)
    heard = set(_heard_virtually(snapshot))
    for server in snapshot.servers("nat", "tun", "fullnat"):
        if _reached(snapshot, server) or server.answers or server.address in heard:
            continue
        if machine.ways.get(server.address) is not None:
            yield from _silent(snapshot, server)


def _heard_virtually(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the servers that answer at a virtual address: of those no more is wanted."""
    for service, server in snapshot.members("tun"):
        if snapshot.answers.replied(questions.virtual(snapshot.machine, service, server)):
            yield server.address


def _reached(snapshot: Snapshot, server: Server) -> bool:
    return snapshot.answers.replied(questions.plain(snapshot.machine, server))


def _astray(snapshot: Snapshot, server: Server, local: bytes) -> Finding:
    name = text(server.address)
    source = snapshot.machine.sources[server.address] or b""
    return Finding(
        Level.PROBLEM,
        f"{name} has no route back to the local address {text(local)}, only to {text(source)}",
        where=f"server {name} (fullnat)",
        remedy=f"ip route replace {text(local)}/{8 * len(local)} via {_gateway(snapshot, server)}",
        at=name,
        silences=frozenset({(server.address, "fullnat")}),
    )


def _elsewhere(snapshot: Snapshot, server: Server) -> Finding:
    name = text(server.address)
    source = snapshot.machine.sources[server.address] or b""
    return Finding(
        Level.PROBLEM,
        f"replies of {name} to clients do not come through this director, which they "
        "must under NAT (or it drops echoes from afar)",
        where=f"server {name} (nat)",
        remedy=f"ip route replace default via {text(source)}",
        at=name,
        silences=frozenset({(server.address, "nat")}),
    )


def _silent(snapshot: Snapshot, server: Server) -> Iterator[Finding]:
    """Say that nothing comes back; the neighbour's check says it where that is why."""
    machine, answers = snapshot.machine, snapshot.answers
    ask = questions.next_hop(machine, server)
    if ask is not None and ask not in answers.macs:
        return
    echo = questions.plain(machine, server)
    answer = answers.echoes.get(echo) if echo else None
    name, source = text(server.address), text(machine.sources[server.address] or b"")
    if answer is not None:
        what = f"{name} cannot be reached: {answer.error}"
    elif server.is_silent:
        what = f"nothing comes back from {name}: it is down, or has no route to {source}"
    else:
        what = f"{name} answers no echo: it is down, has no route to {source}, or drops echoes"
    yield Finding(
        Level.PROBLEM if answer or server.is_silent else Level.WARNING,
        what,
        where=f"server {name} ({server.mode})",
        remedy=f"ip route get {source}",
        at=name,
    )


def _gateway(snapshot: Snapshot, server: Server) -> str:
    """Return what a server must send by to get here: ourselves, or a router between."""
    way = snapshot.machine.ways.get(server.address)
    source = snapshot.machine.sources[server.address]
    return text(source) if way and way.gateway is None and source else "GATEWAY"


CHECK = Check("reply", "replies of NAT and FULLNAT come back here", look)
