"""Local: the real server is the director itself.

======================  ===================  ===================
hop                     source               destination
======================  ===================  ===================
client -> director      CIP:cport            VIP:vport
director -> client      VIP:vport            CIP:cport
======================  ===================  ===================

Nothing is written: the packet goes up to a program of the host, as if there were no balancer.
Nobody configures it; it takes the place of DR and TUN where the real server's address turns out
to be one of the director's own, as in the kernel. The VIP must be one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from forwarders.base import Forwarder
from forwarders.plan import Deliver, Plan

if TYPE_CHECKING:
    from forwarders.base import Ends


@dataclass(frozen=True, slots=True)
class Local(Forwarder):
    """Delivery to the host; replies are its own packets."""

    name: ClassVar = "local"
    label: ClassVar = "Local"
    option: ClassVar = ""
    bypasses: ClassVar = True

    def plan(self, ends: Ends) -> Plan:  # noqa: ARG002 - no end is exchanged
        """Leave the packet as it is."""
        return Plan(request=(Deliver(),), reply=None)
