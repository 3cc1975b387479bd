"""FULLNAT: the real server sees the director, and is told the client's address beside.

======================  ===================  ===================  ===========================
hop                     source               destination          client's address
======================  ===================  ===================  ===========================
client -> director      CIP:cport            VIP:vport
director -> server      **LIP:lport**        **RIP:rport**        **TOA or PROXY v2**
server -> director      RIP:rport            LIP:lport
director -> client      **VIP:vport**        **CIP:cport**
======================  ===================  ===================  ===========================

Bold is what the director wrote. LIP is one of the director's local addresses; each connection
has a port of its own there. So replies come back here whatever the real server's routes are: it
may stand in any network and run any system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from forwarders.base import Forwarder
from forwarders.plan import (
    InsertProxyHeader,
    InsertToa,
    Plan,
    Renumber,
    SetDestination,
    SetSource,
)

if TYPE_CHECKING:
    from forwarders.base import Hop
    from forwarders.plan import Step

ClientAddress: TypeAlias = Literal["toa", "proxy-v2", "none"]
"""How the real server is told who the client is."""

TOA_KIND = 254
"""The kind of TCP option that TOA has unless the operator names another."""


@dataclass(frozen=True, slots=True)
class Fullnat(Forwarder):
    """Source and destination NAT in both directions."""

    name: ClassVar = "fullnat"
    label: ClassVar = "FullNat"
    option: ClassVar = "-b"
    maps_port: ClassVar = True
    needs_source: ClassVar = True
    per_connection: ClassVar = True

    client_address: ClientAddress = "toa"
    toa_kind: int = TOA_KIND

    def plan(self, hop: Hop) -> Plan:
        """Exchange both ends on the way in, and back on the way out.

        Raise ValueError unless ``hop`` names every end, ports included.
        """
        if hop.local is None or hop.client is None or hop.rport is None or hop.vport is None:
            raise ValueError("FULLNAT needs the client, a local address and all ports")
        told: tuple[Step, ...] = ()
        if self.client_address == "toa":
            told = (InsertToa(*hop.client, self.toa_kind),)
        elif self.client_address == "proxy-v2":
            told = (InsertProxyHeader(*hop.client, hop.vip, hop.vport),)
        return Plan(
            request=(
                SetSource(*hop.local),
                SetDestination(hop.rip, hop.rport),
                Renumber(),
                *told,
            ),
            reply=(SetSource(hop.vip, hop.vport), SetDestination(*hop.client), Renumber()),
        )
