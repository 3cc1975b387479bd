"""What has crossed an interface: the kernel's own counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.net import links
from lvsd.net.kernel import talking

if TYPE_CHECKING:
    from lvsd.lab.namespace import Namespace


@dataclass(frozen=True, slots=True)
class Count:
    """Packets that an interface has received and sent, ARP and the like among them."""

    received: int
    sent: int

    def __sub__(self, before: Count) -> Count:
        return Count(self.received - before.received, self.sent - before.sent)


def count(namespace: Namespace, interface: str) -> Count:
    """Return what has crossed an interface since it was made."""
    with namespace.entered(), talking() as kernel:
        found = links.counts(kernel, interface)
    if found is None:
        raise KernelError(
            f"count packets at {interface} in {namespace.name}",
            "there is no such interface",
            "see `ip link` there",
        )
    return Count(found.received, found.sent)
