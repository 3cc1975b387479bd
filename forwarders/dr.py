"""DR, direct routing: the real server gets the packet as the client sent it, in a new frame.

======================  =============  ===================  ===================
hop                     frame          source               destination
======================  =============  ===================  ===================
client -> director      to director    CIP:cport            VIP:vport
director -> server      **to server**  CIP:cport            VIP:vport
server -> client        to a router    VIP:vport            CIP:cport
======================  =============  ===================  ===================

Bold is what the director wrote; above layer 2 only the TTL is one less. The reply never comes
here. The real server is a neighbour of the director (one broadcast domain), has the VIP on an
interface that answers no ARP for it, and serves it on the same port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from forwarders.base import Forwarder
from forwarders.plan import NextHop, Plan

if TYPE_CHECKING:
    from forwarders.base import Ends


@dataclass(frozen=True, slots=True)
class Dr(Forwarder):
    """A new destination MAC for requests; replies go straight to the client."""

    name: ClassVar = "dr"
    label: ClassVar = "Route"
    option: ClassVar = "-g"
    bypasses: ClassVar = True

    def plan(self, ends: Ends) -> Plan:
        """Hand the packet to the real server's MAC."""
        return Plan(request=(NextHop(ends.rip),), reply=None)
