"""What a forwarder is: a name and a plan per connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from forwarders.plan import Plan


@dataclass(frozen=True, slots=True)
class Hop:
    """The two ends that NAT exchanges: virtual and real. Addresses packed, ports host order.

    Both ports are None where they are the same: then a packet keeps the one it has, and one hop
    stands for every port (a service of any port has as many as clients think of).

    There is no client here on purpose: where the plan does not name the client, all of a real
    server's connections share one plan and one compiled rewriter.
    """

    vip: bytes
    vport: int | None
    rip: bytes
    rport: int | None


class Forwarder(ABC):
    """A way to get a packet to a real server.

    ``name`` is what the operator writes after ``forward =``, ``label`` what lvsadm prints
    under Forward, ``option`` the switch that ipvsadm has for it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    option: ClassVar[str]

    @abstractmethod
    def plan(self, hop: Hop) -> Plan:
        """Return the steps for both directions of a connection over ``hop``."""
