"""The virtual address is on every real server of DR and TUN.

Asked by an echo to it, sent as the director sends: in a frame to the server, or in a tunnel. Who
has the address answers straight to this host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions, remedies
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the servers that do not answer for a virtual address.

    A problem where the server answers for its own; else it may just answer no echoes.
    """
    machine, answers = snapshot.machine, snapshot.answers
    for service, server in snapshot.members("dr", "tun"):
        asked = questions.virtual(machine, service, server)
        outside = questions.virtual_from_outside(machine, service, server)
        if asked is None or answers.replied(asked) or answers.replied(outside):
            continue
        ask = questions.next_hop(machine, server)
        if ask is not None and ask not in answers.macs:
            continue  # the neighbour's check says so
        answer = answers.echoes.get(asked)
        reached = answers.replied(questions.plain(machine, server))
        name, vip = text(server.address), text(service.vip)
        tunnels = ", does not decapsulate" if server.mode == "tun" else ""
        if answer is not None:
            what = f"{name} does not take packets to {vip}: {answer.error}"
        elif reached:
            what = f"{name} does not answer as {vip}: it does not have that address{tunnels}"
            what += ", or drops echoes to it"
        else:
            what = f"{name} answers neither as {vip} nor as itself: it is down{tunnels}, "
            what += "or drops echoes"
        yield Finding(
            Level.PROBLEM if reached or answer else Level.WARNING,
            what,
            where=f"server {name} ({server.mode}), virtual address {vip}",
            remedy=remedies.up(snapshot, server),
            at=name,
            silences=frozenset({(server.address, server.mode)}),
        )


CHECK = Check("virtual address", "every DR and TUN server has the virtual address", look)
