"""NAT's packets are routed on by the kernel, which does that only where it is told to.

All other ways leave by sockets, as what the host itself sends, and need no forwarding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.io.sysctls import FORWARDING, of_interface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the sysctls that keep the kernel from forwarding NAT's requests or replies."""
    machine = snapshot.machine
    for service, server in snapshot.members("nat"):
        family = service.family
        if not machine.forwarding.get(family, False):
            yield Finding(
                Level.PROBLEM,
                f"the kernel does not forward IPv{family}, which NAT needs",
                where=f"sysctl {FORWARDING[family]}",
                remedy=f"sysctl -w {FORWARDING[family]}=1",
                silences=_of_nat(snapshot, family),
            )
            continue
        way = machine.ways.get(server.address)
        if way and family == 4 and way.name in machine.forwarding_off:
            name = of_interface(way.name, "forwarding")
            yield Finding(
                Level.PROBLEM,
                f"replies that come in by {way.name} are not forwarded",
                where=f"sysctl {name}",
                remedy=f"sysctl -w {name}=1",
                silences=frozenset({(server.address, "nat")}),
            )


def _of_nat(snapshot: Snapshot, family: int) -> frozenset[tuple[bytes, str]]:
    return frozenset(
        (server.address, "nat")
        for service, server in snapshot.members("nat")
        if service.family == family
    )


CHECK = Check("forwarding", "the kernel forwards what NAT needs", look)
