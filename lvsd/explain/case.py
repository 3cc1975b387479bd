"""What is to be explained: the service, its real servers, and the client's connection to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from forwarders.base import End, Forwarder
    from schedulers.base import Scheduler

Protocol: TypeAlias = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class RealServer:
    """A real server: its endpoint (packed, host order), and its weight."""

    address: bytes
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One connection to explain; `lvsd.explain.making` makes one.

    ``earlier`` is how many connections of other clients are open before.
    """

    mode: str
    protocol: Protocol
    virtual: End
    client: End
    servers: tuple[RealServer, ...]
    scheduler: Scheduler
    forwarder: Forwarder
    local: bytes
    earlier: int = 0
    mss_clamp: bool = False

    @property
    def version(self) -> int:
        """The IP version of the client's packets."""
        return 4 if len(self.virtual[0]) == 4 else 6

    def name_of(self, address: bytes, port: int) -> str:
        """Return a real server's name, "server1" and so on in the order given."""
        ends = [(server.address, server.port) for server in self.servers]
        return f"server{ends.index((address, port)) + 1}"
