"""Which sysctls keep a real server silent about the virtual addresses, and which are wrong.

A virtual address belongs to the director: a real server that has it too must neither answer ARP
requests for it nor give it as the sender of its own ones, which a router would learn from. For
both the kernel takes the greater of ``all`` and the interface's own value (IN_DEV_MAXCONF in
inetdevice.h), so that ``all`` alone is enough, save where an interface has a greater one that
means less.

============  =====  ==========================================================================
arp_ignore    1      answer only for an address of the interface that was asked
arp_announce  2      ask with the best address of the interface that asks, never with another's
============  =====  ==========================================================================

IPv6 needs neither: an interface answers neighbour solicitations for its own addresses only
(ndisc_recv_ns in ndisc.c), and asks with its own (ndisc_solicit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lvsd.io import sysctls

WANTED: Final = {"arp_ignore": "1", "arp_announce": "2"}

_GOOD: Final = {"arp_ignore": frozenset({"1", "2", "8"}), "arp_announce": frozenset({"2"})}
"""Values that keep quiet; arp_ignore 2 and 8 answer to even fewer."""


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A sysctl and the value that it shall have."""

    name: str
    value: str


def arp() -> list[Sysctl]:
    """Return the sysctls of ARP that are to be set for no interface to speak of another's address.

    First those of single interfaces, so that ``all`` never makes matters worse. Raise OSError.
    """
    wanted = []
    for key, value in WANTED.items():
        values = sysctls.of_interfaces(key)
        of_all = values.pop("all", value)
        wanted += [
            Sysctl(sysctls.of_interface(interface, key), value)
            for interface, own in values.items()
            if effective(value, own) not in _GOOD[key]
        ]
        if of_all not in _GOOD[key]:
            wanted.append(Sysctl(sysctls.of_interface("all", key), value))
    return wanted


def talkative() -> list[tuple[str, str, str]]:
    """Return (interface, key, value in force) of those that may speak of the virtual addresses.

    ``lo`` and ``default`` speak to nobody. Raise OSError.
    """
    found = []
    for key in WANTED:
        values = sysctls.of_interfaces(key)
        of_all = values.pop("all", "0")
        for interface, own in values.items():
            in_force = effective(of_all, own)
            if interface not in {"lo", "default"} and in_force not in _GOOD[key]:
                found.append((interface, key, in_force))
    return found


def effective(of_all: str, own: str) -> str:
    """Return the value in force on an interface: the greater."""
    return max(of_all, own, key=int)
