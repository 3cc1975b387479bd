"""What a forwarder is: a name and a plan per connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from forwarders.plan import Plan

End: TypeAlias = tuple[bytes, int]
"""A packed address and a port in host order."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends that a connection has: virtual and real. Addresses packed, ports host order.

    Both ports are None where they are the same: then a packet keeps the one it has, and one object
    stands for every port (a service of any port has as many as clients think of).

    ``local`` is the director's own end towards the real server: the source of a tunnel (port 0),
    or the local address and port of FULLNAT. ``client`` is named only for FULLNAT: where the plan
    does not name the client, all of a real server's connections share one plan and one compiled
    rewriter.
    """

    vip: bytes
    vport: int | None
    rip: bytes
    rport: int | None
    local: End | None = None
    client: End | None = None


@dataclass(frozen=True, slots=True)
class Forwarder(ABC):
    """A way to get a packet to a real server; its fields are the options that it has.

    ``name`` is what the operator writes after ``forward =``, ``label`` what lvsadm prints
    under Forward, ``option`` the switch that lvsadm has for it.

    ``maps_port``       the real server's port may be another than the virtual one
    ``any_family``      the real server may be of the other IP version
    ``bypasses``        replies do not come back through the director
    ``needs_source``    a plan needs an address of the director: `Ends.local`
    ``per_connection``  a plan names the client, so that each connection has one of its own
    """

    name: ClassVar[str]
    label: ClassVar[str]
    option: ClassVar[str]
    maps_port: ClassVar[bool] = False
    any_family: ClassVar[bool] = False
    bypasses: ClassVar[bool] = False
    needs_source: ClassVar[bool] = False
    per_connection: ClassVar[bool] = False

    @abstractmethod
    def plan(self, ends: Ends) -> Plan:
        """Return the steps for both directions of a connection over ``ends``."""
