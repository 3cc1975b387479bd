"""NAT: the real server sees the client's address, the client sees the virtual one.

======================  ===================  ===================
hop                     source               destination
======================  ===================  ===================
client -> director      CIP:cport            VIP:vport
director -> server      CIP:cport            **RIP:rport**
server -> director      RIP:rport            CIP:cport
director -> client      **VIP:vport**        CIP:cport
======================  ===================  ===================

Bold is what the director wrote. Ports may be mapped (vport != rport); otherwise they stay.
The real server may run any system; all it needs is a route to the client that leads through the
director.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from forwarders.base import Forwarder
from forwarders.plan import Plan, SetDestination, SetSource

if TYPE_CHECKING:
    from forwarders.base import Ends


@dataclass(frozen=True, slots=True)
class Nat(Forwarder):
    """Destination NAT for requests, source NAT for replies."""

    name: ClassVar = "nat"
    label: ClassVar = "Masq"
    option: ClassVar = "-m"
    maps_port: ClassVar = True

    def plan(self, ends: Ends) -> Plan:
        """Exchange VIP:vport for RIP:rport on the way in, and back on the way out."""
        return Plan(
            request=(SetDestination(ends.rip, ends.rport),),
            reply=(SetSource(ends.vip, ends.vport),),
        )
