"""The next hop towards each real server answers ARP, or neighbour discovery: it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the next hops that are silent. A server that answers an echo has one, however."""
    machine, answers = snapshot.machine, snapshot.answers
    for server in snapshot.servers():
        ask = questions.next_hop(machine, server)
        if ask is None or ask in answers.macs:
            continue
        if answers.replied(questions.plain(machine, server)):
            continue
        asking = "ARP" if len(ask.address) == 4 else "neighbour discovery"
        server_name, hop = text(server.address), text(ask.address)
        whose = "it" if hop == server_name else f"the router {hop}"
        yield Finding(
            Level.PROBLEM,
            f"{server_name} cannot be reached: {whose} does not answer {asking}",
            where=f"server {server_name} ({server.mode}), interface {ask.interface}",
            remedy="ip link set INTERFACE up",
            at=hop,
        )


CHECK = Check("neighbour", "every next hop answers ARP or neighbour discovery", look)
