"""What has crossed an interface: the kernel's own counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    shown = namespace.run(["ip", "-json", "-stats", "link", "show", "dev", interface])
    (link,) = json.loads(shown.stdout)
    return Count(link["stats64"]["rx"]["packets"], link["stats64"]["tx"]["packets"])
