"""A virtual address belongs to the director: no other host may answer ARP or NDP for it.

Whoever does draws the clients' packets to itself, past the director.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor import questions
from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


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
            local = ask.address in snapshot.machine.addresses
            who = f"the real server {server}" if server else "another host"
            yield Finding(
                Level.PROBLEM if server or local else Level.WARNING,
                f"{who} answers {asking} for {vip}",
                where=f"interface {ask.interface}, MAC {mac.hex(':')}",
                remedy=f"lvsd realserver up --mode {_mode(snapshot, server)} --vip {vip}",
                at=server or f"the host with MAC {mac.hex(':')}",
            )


def _mode(snapshot: Snapshot, server: str) -> str:
    modes = {each.mode for each in snapshot.servers("dr", "tun") if text(each.address) == server}
    return "tun" if "tun" in modes else "dr"


CHECK = Check("arp", "nobody else answers for a virtual address", look)
