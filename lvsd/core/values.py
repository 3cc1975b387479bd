"""What is known of services and real servers without looking at one packet.

Two kinds of frozen values, and nobody changes or copies one: what the operator wants
(`ServiceConfig`, `ServerConfig`), and what the network says (`Way`). What health checks make of a
server is a word (`Health`). What happens at run time is in the objects that have them,
`lvsd.core.service.Service` and `RealServer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lvsd.core.local_pool import LocalPool
from lvsd.core.timeouts import AS_ALL, Timing
from lvsd.packet.address import endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forwarders.base import Forwarder

ANY_MTU: Final = 0xFFFF


class ServiceKey(NamedTuple):
    """What identifies a service: protocol, VIP and port, or a firewall mark and a family.

    ``vip`` is packed (empty for a fwmark service), ``vport`` 0 means any port.
    """

    protocol: int = 0
    vip: bytes = b""
    vport: int = 0
    fwmark: int = 0
    family: int = 4


NO_LOCAL: Final = LocalPool()


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What the operator wants of a virtual service.

    ``flags`` are the scheduler's. ``persistence_s`` 0 means none; ``prefix`` is the persistence
    netmask's length (None: the whole address). With ``one_packet`` each datagram is scheduled by
    itself. With ``mss_clamp`` the MSS in SYNs is lowered to what fits into a tunnel.
    ``max_connections`` bounds its entries in the connection table (0: only the table does).
    ``slow_start_s`` is how long a server that comes back takes to its whole weight (0: no time).
    ``local`` is FULLNAT's pool of local addresses.
    """

    key: ServiceKey
    scheduler: str = "wlc"
    flags: frozenset[str] = frozenset()
    name: str = ""
    persistence_s: int = 0
    prefix: int | None = None
    one_packet: bool = False
    mss_clamp: bool = False
    max_connections: int = 0
    local: LocalPool = NO_LOCAL
    timing: Timing = AS_ALL
    slow_start_s: int = 0

    @property
    def label(self) -> str:
        """A word for logs: its name; without one its mark or its endpoint."""
        key = self.key
        return self.name or (f"mark {key.fwmark}" if key.fwmark else endpoint(key.vip, key.vport))


def service_config(key: ServiceKey, values: Mapping[str, Any]) -> ServiceConfig:
    """Return what is wanted of a service; ``values`` are by their place, such as timing.tcp_s."""
    parts: dict[str, dict[str, Any]] = {"": {}, "local": {}, "timing": {}}
    for place, value in values.items():
        part, _, name = place.rpartition(".")
        parts[part][name] = value
    local = parts["local"]
    pool = LocalPool(local["addresses"], *local["ports"])
    return ServiceConfig(key, local=pool, timing=Timing(**parts["timing"]), **parts[""])


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What the operator wants of a real server; its address (packed) and port identify it.

    ``port`` 0 means the port that the client asked for. ``upper`` and ``lower`` bound the
    connections (`schedulers.base.Server`).
    """

    address: bytes
    port: int
    forwarder: Forwarder
    weight: int = 1
    upper: int = 0
    lower: int = 0

    @property
    def place(self) -> tuple[bytes, int]:
        """What identifies it within its service."""
        return self.address, self.port

    @property
    def label(self) -> str:
        """Its endpoint as people write it."""
        return endpoint(self.address, self.port)


class Health(Enum):
    """What health checks make of a real server. All but `UP` keep new connections away.

    For the scheduler such a server has weight 0, and persistence templates to it do not apply.
    """

    UP = "up"
    """As it is configured."""
    STANDBY = "standby"
    """Existing connections go on: it is a sorry server that is not needed."""
    QUIESCED = "quiesced"
    """They go on, but for UDP: the next datagram leaves it, if another server takes that."""
    REMOVED = "removed"
    """Clients' packets are treated as those to a removed server, and UDP leaves it.

    Replies still get to the clients. Once it is up again, what is left of its connections goes on.
    """

    def __reduce_ex__(self, protocol: Any) -> tuple[type[Health], tuple[str]]:
        """Be pickled by this class alone, as the wire wants; Python 3.11.2 needs getattr."""
        del protocol
        return Health, (self.value,)


class Way(NamedTuple):
    """What the network says of the way to a real server.

    ``mtu`` in bytes, ``source`` the packed address of the director that the server is reached from
    (None: there is no route); ``is_local``: the server is the director itself.
    """

    mtu: int = ANY_MTU
    source: bytes | None = None
    is_local: bool = False


UNKNOWN_WAY: Final = Way()
"""The way to a server that nobody has looked up yet."""
