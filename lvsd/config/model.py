"""The configuration's shape: one class per table, one field per key.

A field's ``description`` is what an error message says was expected. What a key must satisfy
together with other keys stands in ``rules``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
)

from forwarders import Dr, Fullnat, Nat, Tun
from forwarders.fullnat import TOA_KIND, ClientAddress
from forwarders.plan import TunnelKind  # noqa: TC001 - pydantic reads it
from lvsd.config import fields

if TYPE_CHECKING:
    from forwarders.base import Forwarder

MAX_TIMEOUT_S = 31 * 86400
"""The longest timeout, in seconds: ipvsadm's bound."""

_TIMEOUT = f"a whole number of seconds from 1 to {MAX_TIMEOUT_S}"
_CONNECTIONS = "a whole number of connections from 0 (no bound) to 4294967295"
_SWITCH = "true or false (or 1 or 0)"
_TUNNEL = "one of: ipip, gue, gre"
_TUNNEL_PORT = "a port, a whole number from 1 to 65535"

Switch: TypeAlias = Annotated[bool, BeforeValidator(fields.switch)]
Forward: TypeAlias = Annotated[str, PlainValidator(fields.forward)]


class Table(BaseModel):
    """What all tables share: no unknown keys, no guessing of types, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Daemon(Table):
    """``[daemon]``: the process itself."""

    control: Annotated[Path, PlainValidator(fields.control)] = Field(
        default=Path("/run/lvsd/control.sock"),
        description="the absolute path of the control socket",
    )
    queue: int = Field(default=0, ge=0, le=65535, description="a whole number from 0 to 65535")
    queue_length: int = Field(
        default=4096,
        ge=1,
        le=0xFFFFFFFF,
        description="a whole number of packets from 1 to 4294967295",
    )
    on_crash: Literal["drop", "bypass"] = Field(default="drop", description="one of: drop, bypass")
    max_connections: int = Field(
        default=1_000_000, ge=1, le=0xFFFFFFFF, description="a whole number from 1 to 4294967295"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="one of: debug, info, warning, error"
    )
    log_format: Literal["auto", "text", "json", "journal"] = Field(
        default="auto", description="one of: auto, text, json, journal"
    )


class Sysctl(Table):
    """``[sysctl]``: IPVS's own switches by their kernel names, and forwarding.

    ``forwarding``: lvsd switches the kernel's IP forwarding on while it runs.
    ``reserve_local_ports``: the host takes none of FULLNAT's local ports meanwhile.
    """

    expire_nodest_conn: Switch = Field(default=False, description=_SWITCH)
    expire_quiescent_template: Switch = Field(default=False, description=_SWITCH)
    conn_reuse_mode: Annotated[int, BeforeValidator(fields.bits)] = Field(
        default=1, ge=0, le=3, description="a whole number from 0 to 3"
    )
    sloppy_tcp: Switch = Field(default=False, description=_SWITCH)
    sloppy_sctp: Switch = Field(default=False, description=_SWITCH)
    forwarding: Switch = Field(default=True, description=_SWITCH)
    reserve_local_ports: Switch = Field(default=True, description=_SWITCH)


class Timeouts(Table):
    """``[timeouts]``: what ``ipvsadm --set`` changes, in seconds."""

    tcp_s: int = Field(default=900, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)
    tcp_fin_s: int = Field(default=120, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)
    udp_s: int = Field(default=300, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)


class Server(Table):
    """``[[service.server]]``: a real server.

    ``forward`` and the tunnel's keys: None means the service's. A threshold of 0 means none.
    """

    address: Annotated[fields.Endpoint, PlainValidator(fields.endpoint)] = Field(
        description="an address and port such as 10.0.0.11:8080 or [2001:db8::11]:8080"
    )
    weight: int = Field(default=1, ge=0, le=65535, description="a whole number from 0 to 65535")
    forward: Forward | None = Field(default=None, description="the name of a forwarder")
    tunnel: TunnelKind | None = Field(default=None, description=_TUNNEL)
    tunnel_port: int | None = Field(default=None, ge=1, le=65535, description=_TUNNEL_PORT)
    tunnel_checksum: bool | None = Field(default=None, description="true or false")
    upper_threshold: int = Field(default=0, ge=0, le=0xFFFFFFFF, description=_CONNECTIONS)
    lower_threshold: int = Field(default=0, ge=0, le=0xFFFFFFFF, description=_CONNECTIONS)


class Service(Table):
    """``[[service]]``: a virtual service, by address or by firewall mark.

    Exactly one of ``address`` and ``fwmark`` is set, ``protocol`` only with ``address``.
    ``persistence_s`` and ``max_connections`` None mean none; a timeout of None is that of all
    services. ``local_addresses`` are packed. ``servers`` stand in file order.
    """

    name: Annotated[str, PlainValidator(fields.name)] = Field(
        description="a name of 1 to 64 printable characters"
    )
    address: Annotated[fields.Endpoint, PlainValidator(fields.endpoint)] | None = Field(
        default=None, description="an address and port such as 192.0.2.10:80 or [2001:db8::10]:80"
    )
    fwmark: int | None = Field(
        default=None, ge=1, le=0xFFFFFFFF, description="a firewall mark, from 1 to 4294967295"
    )
    family: Literal[4, 6] = Field(default=4, description="4 or 6")
    protocol: Literal["tcp", "udp", "sctp"] | None = Field(
        default=None, description="one of: tcp, udp, sctp"
    )
    scheduler: Annotated[str, PlainValidator(fields.scheduler)] = Field(
        default="wlc", description="the name of a scheduler"
    )
    scheduler_flags: frozenset[str] = Field(
        default=frozenset(), strict=False, description="a list of the scheduler's flags"
    )
    forward: Forward = Field(default="nat", description="the name of a forwarder")
    tunnel: TunnelKind = Field(default="ipip", description=_TUNNEL)
    tunnel_port: int | None = Field(default=None, ge=1, le=65535, description=_TUNNEL_PORT)
    tunnel_checksum: bool = Field(default=False, description="true or false")
    mss_clamp: bool = Field(default=False, description="true or false")
    local_addresses: tuple[Annotated[bytes, PlainValidator(fields.address)], ...] = Field(
        default=(), strict=False, description=fields.ADDRESSES
    )
    local_ports: Annotated[fields.PortRange, PlainValidator(fields.ports)] = Field(
        default=fields.PortRange(1025, 65535), description=fields.PORTS
    )
    client_address: ClientAddress = Field(default="toa", description="one of: toa, proxy-v2, none")
    toa_kind: Annotated[int, AfterValidator(fields.toa_kind)] = Field(
        default=TOA_KIND, ge=0, le=255, description=fields.TOA_KIND
    )
    tcp_timeout_s: int | None = Field(default=None, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)
    udp_timeout_s: int | None = Field(default=None, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)
    udp_answered_timeout_s: int | None = Field(
        default=None, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT
    )
    persistence_s: int | None = Field(default=None, ge=1, le=MAX_TIMEOUT_S, description=_TIMEOUT)
    persistence_netmask: int | None = Field(
        default=None,
        ge=1,
        le=128,
        description="a prefix length, 1 to 32 for IPv4, 1 to 128 for IPv6",
    )
    one_packet: bool = Field(default=False, description="true or false")
    max_connections: int | None = Field(
        default=None, ge=1, le=0xFFFFFFFF, description="a whole number from 1 to 4294967295"
    )
    interface: Annotated[str, PlainValidator(fields.interface)] | None = Field(
        default=None, description="the name of a network interface"
    )
    servers: tuple[Server, ...] = Field(
        default=(),
        alias="server",
        strict=False,
        description="[[service.server]] tables, in double brackets",
    )

    @property
    def address_family(self) -> int:
        """4 or 6: of the address, or of the packets whose mark counts."""
        return self.address.family if self.address else self.family

    def forward_to(self, server: Server) -> str:
        """Return the name of the forwarder for one of this service's servers."""
        return server.forward or self.forward

    def forwarder(self, server: Server) -> Forwarder:
        """Return the forwarder for one of this service's servers, with its options."""
        match self.forward_to(server):
            case "dr":
                return Dr()
            case "tun":
                return self._tunnel(server)
            case "fullnat":
                return Fullnat(self.client_address, self.toa_kind)
            case _:
                return Nat()

    def _tunnel(self, server: Server) -> Tun:
        """Return a server's tunnel: what it says itself, then what the service says.

        An option that the tunnel's kind does not have is the service's for other servers.
        """
        kind = server.tunnel or self.tunnel
        port = server.tunnel_port or self.tunnel_port or 0
        checksum = server.tunnel_checksum
        if checksum is None:
            checksum = self.tunnel_checksum
        return Tun(kind, port if kind == "gue" else 0, checksum and kind != "ipip")


class Config(Table):
    """A whole configuration file."""

    daemon: Daemon = Field(default=Daemon(), description="a table")
    sysctl: Sysctl = Field(default=Sysctl(), description="a table")
    timeouts: Timeouts = Field(default=Timeouts(), description="a table")
    services: tuple[Service, ...] = Field(
        default=(),
        alias="service",
        strict=False,
        description="[[service]] tables, in double brackets",
    )
