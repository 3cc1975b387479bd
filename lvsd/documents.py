"""What is wanted as a document, in the words of the configuration: `lvsd.assembly` backwards.

Every server says how it is forwarded to, and what has its default is left out, but for what people
look for first. So two documents differ where, and only where, what is wanted does.

Pure, as `lvsd.assembly` is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from lvsd import keys
from lvsd.assembly import PROTOCOLS, service_config
from lvsd.config.check_tables import document
from lvsd.config.shape import fields_of
from lvsd.config.writing import default_name
from lvsd.keys import Kind, plain
from lvsd.packet.address import endpoint

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
    table = {"name": "", **_identity(config.key), "scheduler": config.scheduler}
    table |= _said(config, (*keys.OF_LVSD, *keys.OF_IPVS))
    if entry and entry.interface:
        table["interface"] = entry.interface
    table["name"] = config.name or default_name(table)
    if entry and entry.check:
        table["check"] = document(entry.check)
    if rows := [server_table(each) for each in servers]:
        table["server"] = rows
        if entry and entry.check:
            _add_checks(rows, entry)
    elif entry and entry.forward != "nat":
        table["forward"] = entry.forward
    return table


def _add_checks(rows: Iterable[Table], entry: model.Service) -> None:
    """Add to the tables of servers how they are checked, and which are sorry servers."""
    of_file = {str(each.address): each for each in entry.servers}
    for row in rows:
        server = of_file.get(row["address"])
        if server is not None and server.backup:
            row["backup"] = True
        if server is not None and server.check:
            row["check"] = document(server.check)


def _identity(key: ServiceKey) -> Table:
    if key.fwmark:
        return {"fwmark": key.fwmark} | ({"family": 6} if key.family == 6 else {})
    return {"address": endpoint(key.vip, key.vport), "protocol": _PROTOCOL_NAMES[key.protocol]}


def server_table(config: ServerConfig) -> Table:
    """Return a real server's table."""
    name = config.forwarder.name
    table: Table = {
        "address": endpoint(config.address, config.port),
        "weight": config.weight,
        "forward": name,
    }
    way = {each.key: each.of(config.forwarder) for each in keys.FORWARDING.get(name, ())}
    for word, needed, values in _ONLY_WITH:
        if way.get(needed) not in values:
            way.pop(word, None)
    return table | way | _said(config, keys.SERVER)


_ONLY_WITH: Final = (
    ("tunnel_port", "tunnel", ("gue",)),
    ("tunnel_checksum", "tunnel", ("gue", "gre")),
    ("toa_kind", "client_address", ("toa",)),
)
"""Keys of a way of forwarding that go with some values of another one."""


def _said(config: ServiceConfig | ServerConfig, known: Iterable[keys.Key]) -> Table:
    """Return what has not its default."""
    values = ((each, each.of(config)) for each in known)
    return {
        each.key: "{}-{}".format(*value) if each.kind is Kind.PORTS else plain(value)
        for each, value in values
        if value != each.default
    }


def _values(table: Shape) -> Iterator[tuple[str, object]]:
    for word, field in fields_of(type(table)).items():
        yield word, getattr(table, field.name)


def _plain(value: object) -> bool | int | str:
    return value if isinstance(value, bool | int) else str(value)
