"""TUN: the real server gets the client's packet inside another one, over any network.

======================  ===================  ===================  ===================
hop                     outer                source               destination
======================  ===================  ===================  ===================
client -> director      none                 CIP:cport            VIP:vport
director -> server      **DIP -> RIP**       CIP:cport            VIP:vport
server -> client        none                 VIP:vport            CIP:cport
======================  ===================  ===================  ===================

Bold is what the director wrote: IP in IP (RFC 2003, RFC 2473), GUE or GRE (RFC 2784). The reply
never comes here. The real server takes the outer header off, has the VIP on an interface that
answers no ARP for it, and serves it on the same port. Outer and inner may be of different
families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from forwarders.base import Forwarder
from forwarders.plan import Encapsulate, Plan, TunnelKind

if TYPE_CHECKING:
    from forwarders.base import Ends


@dataclass(frozen=True, slots=True)
class Tun(Forwarder):
    """A second IP header for requests; replies go straight to the client.

    ``kind``, ``port`` and ``checksum`` are ipvsadm's ``--tun-type``, ``--tun-port`` (GUE only)
    and ``--tun-csum``.
    """

    name: ClassVar = "tun"
    label: ClassVar = "Tunnel"
    option: ClassVar = "-i"
    any_family: ClassVar = True
    bypasses: ClassVar = True
    needs_source: ClassVar = True

    kind: TunnelKind = "ipip"
    port: int = 0
    checksum: bool = False

    def plan(self, ends: Ends) -> Plan:
        """Wrap the packet; ``ends.local`` is where the tunnel begins.

        Raise ValueError without one: there is no route to the real server.
        """
        if ends.local is None:
            raise ValueError("a tunnel needs an address of the director to begin at")
        step = Encapsulate(ends.local[0], ends.rip, self.kind, self.port, self.checksum)
        return Plan(request=(step,), reply=None)
