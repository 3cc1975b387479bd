"""From the core's objects to entries of the control protocol."""

from __future__ import annotations

from functools import cache
from math import ceil
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, Final, Protocol, cast

from lvsd import keys
from lvsd.control.protocol import PROTOCOL_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from forwarders.base import Forwarder
    from lvsd.control.protocol import (
        ConnectionEntry,
        CounterEntry,
        DrainEntry,
        EvidenceEntry,
        ServerEntry,
        ServiceEntry,
        SlowStartEntry,
        TimeoutsEntry,
    )
    from lvsd.core.commands import Changes, Command
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.stats import Rates, Totals


class ConnectionView(Protocol):
    """What the control socket reads of a connection or template."""

    @property
    def protocol(self) -> int: ...  # noqa: D102 - the class says it
    @property
    def client(self) -> bytes: ...  # noqa: D102
    @property
    def client_port(self) -> int: ...  # noqa: D102
    @property
    def vip(self) -> bytes: ...  # noqa: D102
    @property
    def vport(self) -> int: ...  # noqa: D102
    @property
    def rip(self) -> bytes: ...  # noqa: D102
    @property
    def rport(self) -> int: ...  # noqa: D102
    @property
    def state_name(self) -> str: ...  # noqa: D102
    @property
    def expires(self) -> float: ...  # noqa: D102
    @property
    def template(self) -> bool: ...  # noqa: D102
    @property
    def fwmark(self) -> int: ...  # noqa: D102
    @property
    def local(self) -> tuple[bytes, int] | None: ...  # noqa: D102


class DirectorView(Protocol):
    """What the control socket needs of the director.

    ``connections`` is taken in slices with packets handled in between, so its iterator has to
    live through changes of the table.
    """

    @property
    def services(self) -> ServiceTable: ...  # noqa: D102 - the class says it
    @property
    def now(self) -> float: ...  # noqa: D102
    def connections(self) -> Iterator[ConnectionView]: ...  # noqa: D102
    def timeouts(self) -> tuple[int, int, int]: ...  # noqa: D102
    def apply(self, commands: Iterable[Command], now: float) -> Changes: ...  # noqa: D102
    def counters(self) -> Mapping[str, int]: ...  # noqa: D102
    def dropped(self) -> Mapping[str, int]: ...  # noqa: D102


_told_service: Final = keys.telling(keys.SERVICE)
_told_server: Final = keys.telling(keys.SERVER)


def address_text(address: bytes) -> str:
    """Return a packed address as ipvsadm writes it; empty for none.

    inet_ntop, not `ipaddress`: a listing has three addresses per connection.
    """
    if not address:
        return ""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def service_entry(service: Service, now: float) -> ServiceEntry:
    """Describe a service and its real servers; ``now`` is the director's, in seconds."""
    key = service.key
    family = key.family if key.fwmark else {4: 4, 16: 6}[len(key.vip)]
    entry = {
        "protocol": PROTOCOL_NAMES[key.protocol],
        "address": address_text(key.vip),
        "port": key.vport,
        "fwmark": key.fwmark,
        "family": 6 if family == 6 else 4,
        **_told_service(service.config),
        "stats": _counters(service.meter.totals),
        "rates": _counters(service.meter.rates),
        "servers": [_server_entry(server, now) for server in service.servers],
    }
    return cast("ServiceEntry", entry)


def _server_entry(server: RealServer, now: float) -> ServerEntry:
    config, name = server.config, server.config.forwarder.name
    entry = {
        "address": address_text(server.address),
        "port": server.port,
        "forward": name,
        "label": server.effective_forwarder.label,
        **_OF_WAYS,
        **(_of_way(config.forwarder) if name in keys.FORWARDING else {}),
        **_told_server(config),
        "effective_weight": server.service.easing.effect(server.weight, server.ramp),
        "health": server.health.value,
        "drain": _drain(server, now),
        "slow_start": _slow_start(server, now),
        "active": server.active,
        "inactive": server.inactive,
        "templates": server.templates,
        "evidence": _evidence(server, now),
        "stats": _counters(server.meter.totals),
        "rates": _counters(server.meter.rates),
    }
    return cast("ServerEntry", entry)


_OF_WAYS: Final = {
    each.word: type(each.default)() for known in keys.FORWARDING.values() for each in known
}
"""What those servers have that are forwarded to in another way."""


@cache
def _of_way(forwarder: Forwarder) -> Mapping[str, object]:
    return {each.word: each.of(forwarder) for each in keys.FORWARDING[forwarder.name]}


def _drain(server: RealServer, now: float) -> DrainEntry | None:
    drain = server.drain
    if drain is None:
        return None
    return {"left_s": drain.left_s(now), "empty": drain.is_empty, "cut": drain.ended}


def _slow_start(server: RealServer, now: float) -> SlowStartEntry | None:
    ramp = server.ramp
    if ramp is None:
        return None
    since = now if ramp.since is None else ramp.since
    # In this order: a float rounds `since + over_s - now` up beyond the whole time.
    over_s = server.service.easing.over_s
    left_s = max(0, ceil(over_s - (now - since)))
    return {"percent": int(ramp.part * 100), "left_s": min(left_s, over_s)}


def _evidence(server: RealServer, now: float) -> EvidenceEntry:
    hearing, refusals = server.meter.hearing, server.refusals
    stats = server.meter.stats
    heard, since = hearing.heard_at, hearing.waiting_since
    return {
        "heard_ago_s": None if heard is None else _age(heard, now),
        "waiting": 0 if since is None else hearing.waiting(stats.connections, stats.out_packets),
        "waiting_s": 0 if since is None else _age(since, now),
        "tried_ago_s": 0 if since is None else _age(hearing.tried_at, now),
        "refused": refusals.count,
        "refused_port": refusals.port,
        "refused_ago_s": _age(refusals.last, now) if refusals.count else 0,
        "repeated": server.unanswered,
    }


def _age(then: float, now: float) -> int:
    """Return whole seconds; a listing's clock may be a tick behind."""
    return max(0, int(now - then))


def _counters(values: Totals | Rates) -> CounterEntry:
    connections, in_packets, out_packets, in_bytes, out_bytes = values
    return {
        "connections": connections,
        "in_packets": in_packets,
        "out_packets": out_packets,
        "in_bytes": in_bytes,
        "out_bytes": out_bytes,
    }


def connection_entry(connection: ConnectionView, now: float) -> ConnectionEntry:
    """Describe a connection; ``expires_s`` is whole seconds, rounded down as the kernel does.

    A template of a mark's IPv6 service has the mark in the first word of its virtual address
    (ip_vs_sched_persist).
    """
    vip = connection.vip.ljust(len(connection.client), b"\0")
    local, local_port = connection.local or (b"", 0)
    return {
        "protocol": PROTOCOL_NAMES[connection.protocol],
        "state": connection.state_name,
        "expires_s": max(0, int(connection.expires - now)),
        "client": address_text(connection.client),
        "client_port": connection.client_port,
        "virtual": address_text(vip),
        "virtual_port": connection.vport,
        "server": address_text(connection.rip),
        "server_port": connection.rport,
        "local": address_text(local),
        "local_port": local_port,
        "fwmark": connection.fwmark,
        "template": connection.template,
    }


def timeouts_entry(timeouts: tuple[int, int, int]) -> TimeoutsEntry:
    """Describe the timeouts of established TCP, closing TCP and UDP, in seconds."""
    tcp, tcp_fin, udp = timeouts
    return {"tcp_s": tcp, "tcp_fin_s": tcp_fin, "udp_s": udp}
