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
    from forwarders.base import Ends
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
    option: ClassVar = "-F"
    maps_port: ClassVar = True
    needs_source: ClassVar = True
    per_connection: ClassVar = True

    client_address: ClientAddress = "toa"
    toa_kind: int = TOA_KIND

    def plan(self, ends: Ends) -> Plan:
        """Exchange both ends on the way in, and back on the way out.

        Raise ValueError unless ``ends`` names every end, ports included.
        """
        if ends.local is None or ends.client is None or ends.rport is None or ends.vport is None:
            raise ValueError("FULLNAT needs the client, a local address and all ports")
        told: tuple[Step, ...] = ()
        if self.client_address == "toa":
            told = (InsertToa(*ends.client, self.toa_kind),)
        elif self.client_address == "proxy-v2":
            told = (InsertProxyHeader(*ends.client, ends.vip, ends.vport),)
        return Plan(
            request=(
                SetSource(*ends.local),
                SetDestination(ends.rip, ends.rport),
                Renumber(),
                *told,
            ),
            reply=(SetSource(ends.vip, ends.vport), SetDestination(*ends.client), Renumber()),
        )
