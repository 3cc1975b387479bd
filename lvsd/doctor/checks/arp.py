"""A virtual address belongs to the director: no other host may answer ARP or NDP for it.

Whoever does draws the clients' packets to itself, past the director.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions, remedies
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Server, Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield who answers for a virtual address, other than this host.

    A warning where the host is not known and the address is not here: it may be another director
    or a router, and right.
    """
    own = set(snapshot.machine.macs.values())
    for ask in questions.owners(snapshot):
        vip = text(ask.address)
        asking = "ARP" if len(ask.address) == 4 else "neighbour discovery"
        for mac in sorted(snapshot.answers.macs.get(ask, frozenset()) - own):
            server = snapshot.owner(mac, len(ask.address))
            is_ours = server is not None or ask.address in snapshot.machine.addresses
            name = text(server.address) if server else f"the host with MAC {mac.hex(':')}"
            yield Finding(
                Level.PROBLEM if is_ours else Level.WARNING,
                f"{f'the real server {name}' if server else 'another host'} "
                f"answers {asking} for {vip}",
                where=f"interface {ask.interface}, MAC {mac.hex(':')}",
                remedy=_silence(snapshot, server, ask.address),
                at=name,
            )


def _silence(snapshot: Snapshot, server: Server | None, vip: bytes) -> str:
    """Return how to have the virtual address and be quiet about it, or not have it at all."""
    if server is not None and server.mode in {"dr", "tun"}:
        return remedies.up(snapshot, server)
    return f"ip address delete {text(vip)}/{8 * len(vip)} dev INTERFACE"


CHECK = Check("arp", "nobody else answers for a virtual address", look)
