"""The configuration's shape: one class per table, one field per key, read by its reader.

What a key must satisfy together with other keys stands in ``rules``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from forwarders import Dr, Fullnat, Nat, Tun
from forwarders.fullnat import TOA_KIND, ClientAddress
from forwarders.plan import TunnelKind
from lvsd.config import fields
from lvsd.config.check_tables import CheckOf, Said, ServerCheck, ServiceCheck
from lvsd.config.fields import boolean, choice, switch, whole
from lvsd.config.shape import ListOf, Table, TableOf, TablesOf, key

if TYPE_CHECKING:
    from forwarders.base import Forwarder

MAX_TIMEOUT_S = 31 * 86400
"""The longest timeout, in seconds: ipvsadm's bound."""

_SOME = 0xFFFFFFFF
_MAX_INT = 0x7FFFFFFF
_seconds = whole(1, MAX_TIMEOUT_S, f"a whole number of seconds from 1 to {MAX_TIMEOUT_S}")
_threshold = whole(0, _MAX_INT, f"a whole number of connections from 0 (no bound) to {_MAX_INT}")
_entries = whole(1, _SOME, "a whole number from 1 to 4294967295")
_tunnel = choice(*get_args(TunnelKind))
_tunnel_port = whole(1, 65535, "a port, a whole number from 1 to 65535")

_NAT, _DR = Nat(), Dr()
"""One of each for all servers: a message to an engine says it once."""


@dataclass(frozen=True, slots=True)
class Daemon(Table):
    """``[daemon]``: the process itself."""

    control: Path = key(fields.control, Path("/run/lvsd/control.sock"))
    control_readers: Literal["group", "all"] = key(choice("group", "all"), "group")
    queue: int = key(whole(0, 65535, "a whole number from 0 to 65535"), 0)
    queue_length: int = key(whole(1, _SOME, "a whole number of packets from 1 to 4294967295"), 4096)
    on_crash: Literal["drop", "bypass"] = key(choice("drop", "bypass"), "drop")
    hold_s: int = key(whole(0, 3600, "a whole number of seconds from 0 to 3600"), 10)
    max_connections: int = key(_entries, 1_000_000)
    log_level: Literal["debug", "info", "warning", "error"] = key(
        choice("debug", "info", "warning", "error"), "info"
    )
    log_format: Literal["auto", "text", "json", "journal"] = key(
        choice("auto", "text", "json", "journal"), "auto"
    )


@dataclass(frozen=True, slots=True)
class Sysctl(Table):
    """``[sysctl]``: IPVS's own switches by their kernel names, and forwarding.

    ``forwarding``: lvsd switches the kernel's IP forwarding on while it runs.
    ``reserve_local_ports``: the host takes none of FULLNAT's local ports meanwhile.
    """

    expire_nodest_conn: bool = key(switch, default=False)
    expire_quiescent_template: bool = key(switch, default=False)
    conn_reuse_mode: int = key(fields.reuse_mode, 1)
    sloppy_tcp: bool = key(switch, default=False)
    sloppy_sctp: bool = key(switch, default=False)
    forwarding: bool = key(switch, default=True)
    reserve_local_ports: bool = key(switch, default=True)


@dataclass(frozen=True, slots=True)
class Timeouts(Table):
    """``[timeouts]``: what ``ipvsadm --set`` changes, in seconds."""

    tcp_s: int = key(_seconds, 900)
    tcp_fin_s: int = key(_seconds, 120)
    udp_s: int = key(_seconds, 300)


@dataclass(frozen=True, slots=True)
class Server(Table):
    """``[[service.server]]``: a real server.

    ``forward`` and the keys of one way of forwarding: None means the service's. A threshold of 0
    means none.
    """

    address: fields.Endpoint = key(
        fields.endpoint,
        expected="an address and port such as 10.0.0.11:8080 or [2001:db8::11]:8080",
    )
    weight: int = key(whole(0, 65535, "a whole number from 0 to 65535"), 1)
    forward: str | None = key(fields.forward, None)
    tunnel: TunnelKind | None = key(_tunnel, None)
    tunnel_port: int | None = key(_tunnel_port, None)
    tunnel_checksum: bool | None = key(boolean, None)
    client_address: ClientAddress | None = key(choice(*get_args(ClientAddress)), None)
    toa_kind: int | None = key(fields.toa_kind, None)
    upper_threshold: int = key(_threshold, 0)
    lower_threshold: int = key(_threshold, 0)
    backup: bool = key(boolean, default=False)
    check: Said | None = key(CheckOf(ServerCheck), None)


@dataclass(frozen=True, slots=True)
class Service(Table):
    """``[[service]]``: a virtual service, by address or by firewall mark.

    Exactly one of ``address`` and ``fwmark`` is set, ``protocol`` only with ``address``.
    ``persistence_s``, ``max_connections`` and ``slow_start_s`` None mean none; a timeout of None is
    that of all services. ``local_addresses`` are packed. ``servers`` stand in file order.
    """

    name: str = key(fields.name, expected=fields.NAME)
    address: fields.Endpoint | None = key(fields.endpoint, None)
    fwmark: int | None = key(whole(1, _SOME, "a firewall mark, from 1 to 4294967295"), None)
    family: Literal[4, 6] = key(fields.family, 4)
    protocol: Literal["tcp", "udp", "sctp"] | None = key(choice("tcp", "udp", "sctp"), None)
    scheduler: str = key(fields.scheduler, "wlc")
    scheduler_flags: frozenset[str] = key(ListOf(fields.flag, fields.FLAGS, frozenset), frozenset())
    forward: str = key(fields.forward, "nat")
    tunnel: TunnelKind = key(_tunnel, "ipip")
    tunnel_port: int | None = key(_tunnel_port, None)
    tunnel_checksum: bool = key(boolean, default=False)
    mss_clamp: bool = key(boolean, default=False)
    local_addresses: tuple[bytes, ...] = key(ListOf(fields.address, fields.ADDRESSES), ())
    local_ports: fields.PortRange = key(fields.ports, fields.PortRange(1025, 65535))
    client_address: ClientAddress = key(choice(*get_args(ClientAddress)), "toa")
    toa_kind: int = key(fields.toa_kind, TOA_KIND)
    tcp_timeout_s: int | None = key(_seconds, None)
    udp_timeout_s: int | None = key(_seconds, None)
    udp_answered_timeout_s: int | None = key(_seconds, None)
    persistence_s: int | None = key(_seconds, None)
    persistence_netmask: int | None = key(
        whole(1, 128, "a prefix length, 1 to 32 for IPv4, 1 to 128 for IPv6"), None
    )
    one_packet: bool = key(boolean, default=False)
    max_connections: int | None = key(_entries, None)
    slow_start_s: int | None = key(_seconds, None)
    interface: str | None = key(fields.interface, None)
    check: Said | None = key(CheckOf(ServiceCheck), None)
    servers: tuple[Server, ...] = key(
        TablesOf(Server, "[[service.server]] tables, in double brackets"), (), word="server"
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
                return _DR
            case "tun":
                return self._tunnel(server)
            case "fullnat":
                return self._fullnat(server)
            case _:
                return _NAT

    def _fullnat(self, server: Server) -> Fullnat:
        """Return how a server is told the client: what it says itself, then what the service says.

        The kind of TOA's option is the service's for other servers where there is no such option.
        """
        told = server.client_address or self.client_address
        if told != "toa":
            return Fullnat(told)
        return Fullnat(told, self.toa_kind if server.toa_kind is None else server.toa_kind)

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


@dataclass(frozen=True, slots=True)
class Config(Table):
    """A whole configuration file."""

    daemon: Daemon = key(TableOf(Daemon), Daemon())
    sysctl: Sysctl = key(TableOf(Sysctl), Sysctl())
    timeouts: Timeouts = key(TableOf(Timeouts), Timeouts())
    services: tuple[Service, ...] = key(
        TablesOf(Service, "[[service]] tables, in double brackets"), (), word="service"
    )
