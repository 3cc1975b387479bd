"""Replies of DR and TUN go past the director, not back through it.

A reply from a virtual address that the director has, too, is a martian to it, and dropped, unless
accept_local is on: the one place where that sysctl matters, as FULLNAT and TUN send by sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.doctor.snapshot import STRICT
from lvsd.io.sysctls import FORWARDING, of_interface
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Service, Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers whose replies to clients come in here, and why they get no further."""
    machine, answers = snapshot.machine, snapshot.answers
    for service, server in snapshot.members("dr", "tun"):
        echo = questions.virtual_from_outside(machine, service, server)
        if echo is None or not answers.replied(echo):
            continue
        name, vip = text(server.address), text(service.vip)
        obstacle = _obstacle(snapshot, service, answers.echoes[echo].interface)
        what = f"{name} sends its replies as {vip} through this director"
        yield Finding(
            Level.PROBLEM if obstacle else Level.WARNING,
            f"{what}, which drops them: {obstacle}" if obstacle else f"{what}, not past it",
            where=f"server {name} ({server.mode}), virtual address {vip}",
            remedy=f"ip route replace default via {_elsewhere(server)}",
            at=name,
            silences=frozenset({(server.address, server.mode)}),
        )


def _obstacle(snapshot: Snapshot, service: Service, interface: str) -> str:
    """Return why the kernel does not forward what comes from a virtual address; empty if it does.

    IPv6 has neither martians of this kind nor an rp_filter.
    """
    machine, family = snapshot.machine, service.family
    is_local = service.vip in machine.addresses
    if family == 4 and is_local and interface not in machine.accept_local:
        return f"{of_interface(interface, 'accept_local')} is 0"
    if family == 4 and not is_local and machine.rp_filter.get(interface) == STRICT:
        return f"{of_interface(interface, 'rp_filter')} is 1"
    if not machine.forwarding.get(family, False):
        return f"{FORWARDING[family]} is 0"
    return ""


def _elsewhere(server: Server) -> str:
    """Return whom a server should send by instead, which cannot be known here."""
    return "ROUTER" if len(server.address) == 4 else "ROUTER6"


CHECK = Check("bypass", "replies of DR and TUN do not come back through here", look)
