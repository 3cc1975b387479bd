"""Virtual addresses are on the interfaces that the configuration has lvsd put them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.doctor.finding import Check, Finding, Level
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.doctor.snapshot import Snapshot


def look(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield each address that is not where it is to be, and what is in its way.

    Without a daemon none is on an interface of its making, which is as it should be. Without a
    configuration only the daemon knows, and it tells how many are missing.
    """
    daemon, machine = snapshot.daemon, snapshot.machine
    if daemon is None:
        return
    wanted = {(each.vip, each.interface): each for each in snapshot.services if each.interface}
    for (address, interface), service in wanted.items():
        if interface in machine.addresses.get(address, frozenset()):
            continue
        where = f"service {service.name}"
        others = sorted(machine.addresses.get(address, frozenset()))
        if interface not in machine.interfaces and others:
            yield Finding(
                Level.PROBLEM,
                f"{text(address)} is on {others[0]}, and there is no {interface}: was it renamed?",
                where=where,
                remedy=f'interface = "{others[0]}"',
                at="the configuration, [[service]]",
            )
        elif interface not in machine.interfaces:
            yield Finding(
                Level.PROBLEM,
                f"{text(address)} waits for the interface {interface}, which does not exist",
                where=where,
                remedy=f"ip link show {interface}  # make it, or correct `interface`",
            )
        else:
            yield Finding(
                Level.PROBLEM,
                f"{text(address)} is not on {interface}: somebody took it away",
                where=where,
                remedy=f"ip address add {text(address)}/{8 * len(address)} dev {interface}",
            )
    missing = daemon.count("virtual_addresses", "missing")
    if missing and not wanted:
        yield Finding(
            Level.PROBLEM,
            f"virtual addresses that are not on their interface: {missing}",
            remedy="lvsd doctor -c FILE  # says which; so does the daemon's log",
        )


CHECK = Check("interface", "virtual addresses are on their interfaces", look)
