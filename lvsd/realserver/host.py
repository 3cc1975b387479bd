"""What this host has of interfaces and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.net import addresses, links
from lvsd.net.kernel import talking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.net.addresses import Address
    from lvsd.net.links import Link


@dataclass(frozen=True, slots=True)
class Host:
    """Interfaces by name, and all addresses."""

    links: Mapping[str, Link]
    addresses: tuple[Address, ...]

    def places(self, address: bytes) -> set[str]:
        """Return the names of the interfaces that have an address."""
        names = {link.index: link.name for link in self.links.values()}
        at = (each.interface for each in self.addresses if each.address == address)
        return {names[index] for index in at if index in names}


def look() -> Host:
    """Return what there is now. Raise KernelError."""
    with talking() as kernel:
        found = addresses.every(kernel)
        return Host({link.name: link for link in links.every(kernel)}, found)
