"""What is wanted as a document, in the words of the configuration: `lvsd.assembly` backwards.

Every server says how it is forwarded to, and what has its default is left out, but for what people
look for first. So two documents differ where, and only where, what is wanted does.

Pure, as `lvsd.assembly` is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from forwarders import Fullnat, Tun
from lvsd.assembly import PROTOCOLS, service_config
from lvsd.config.shape import fields_of
from lvsd.config.writing import default_name
from lvsd.core.local_pool import PORTS
from lvsd.packet.address import endpoint, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.config import model
    from lvsd.config.document import Table
    from lvsd.config.shape import Table as Shape
    from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
    from lvsd.core.wanted import Wanted

_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


def whole(wanted: Wanted, config: model.Config) -> dict[str, Any]:
    """Return a document of what is wanted; of ``config`` is what no command changes."""
    return tables(wanted, config) | {"service": list(services(wanted, config))}


def tables(wanted: Wanted, config: model.Config) -> dict[str, Table]:
    """Return the document's tables before the services."""
    daemon = {word: _plain(value) for word, value in _values(config.daemon)}
    sysctl = {word: _plain(value) for word, value in _values(config.sysctl)}
    of_core = {field.name for field in dataclasses.fields(wanted.settings)}
    sysctl |= {word: getattr(wanted.settings, word) for word in sysctl if word in of_core}
    daemon["max_connections"] = wanted.settings.max_connections
    timeouts = dict(zip(("tcp_s", "tcp_fin_s", "udp_s"), wanted.timeouts, strict=True))
    return {"daemon": daemon, "sysctl": sysctl, "timeouts": timeouts}


def services(
    wanted: Wanted, config: model.Config, keys: Iterable[ServiceKey] | None = None
) -> Iterator[Table]:
    """Yield the tables of services, of all that there are or of those with these keys."""
    of_file = {service_config(entry).key: entry for entry in config.services}
    for key in wanted.services if keys is None else keys:
        service = wanted.services.get(key)
        if service is not None:
            servers = tuple(service.servers.values())
            yield service_table(service.config, servers, of_file.get(key))


def service_table(
    config: ServiceConfig, servers: Iterable[ServerConfig], entry: model.Service | None = None
) -> Table:
    """Return a service's table; ``entry`` has what is no concern of the core's."""
    pool, timing = config.local, config.timing
    ports = (pool.low, pool.high)
    found = {
        "name": config.name,
        **_identity(config.key),
        "scheduler": config.scheduler,
        "scheduler_flags": sorted(config.flags),
        "mss_clamp": config.mss_clamp,
        "local_addresses": [text(each) for each in pool.addresses],
        "local_ports": f"{pool.low}-{pool.high}" if ports != PORTS else "",
        "tcp_timeout_s": timing.tcp_s,
        "udp_timeout_s": timing.udp_s,
        "udp_answered_timeout_s": timing.udp_answered_s,
        "persistence_s": config.persistence_s,
        "persistence_netmask": config.prefix,
        "one_packet": config.one_packet,
        "max_connections": config.max_connections,
        "slow_start_s": config.slow_start_s,
        "interface": entry.interface if entry else None,
    }
    table = {word: value for word, value in found.items() if value}
    table["name"] = config.name or default_name(table)
    if rows := [server_table(each) for each in servers]:
        table["server"] = rows
    elif entry and entry.forward != "nat":
        table["forward"] = entry.forward
    return table


def _identity(key: ServiceKey) -> Table:
    if key.fwmark:
        return {"fwmark": key.fwmark, "family": 6 if key.family == 6 else 0}
    return {"address": endpoint(key.vip, key.vport), "protocol": _PROTOCOL_NAMES[key.protocol]}


def server_table(config: ServerConfig) -> Table:
    """Return a real server's table."""
    table: Table = {
        "address": endpoint(config.address, config.port),
        "weight": config.weight,
        "forward": config.forwarder.name,
    }
    match config.forwarder:
        case Tun(kind, port, checksum):
            table["tunnel"] = kind
            if port:
                table["tunnel_port"] = port
            if kind != "ipip":
                table["tunnel_checksum"] = checksum
        case Fullnat(told, kind):
            table["client_address"] = told
            if told == "toa":
                table["toa_kind"] = kind
    thresholds = {"upper_threshold": config.upper, "lower_threshold": config.lower}
    return table | {word: value for word, value in thresholds.items() if value}


def _values(table: Shape) -> Iterator[tuple[str, object]]:
    for word, field in fields_of(type(table)).items():
        yield word, getattr(table, field.name)


def _plain(value: object) -> bool | int | str:
    return value if isinstance(value, bool | int) else str(value)
