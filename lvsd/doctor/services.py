"""Services and real servers, out of a configuration or as a running daemon lists them. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from forwarders.tun import Tun
from lvsd.doctor.snapshot import Counts, Server, Service
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvsd.config import model
    from lvsd.control.protocol import ServerEntry, ServiceEntry


def configured(config: model.Config) -> tuple[Service, ...]:
    """Return the services of a configuration."""
    return tuple(_configured(entry) for entry in config.services)


def running(entries: Iterable[ServiceEntry], known: Iterable[Service] = ()) -> tuple[Service, ...]:
    """Return the services that a daemon lists.

    What it does not tell of one is taken from the service of that name among ``known``.
    """
    by_name = {service.name: service for service in known}
    return tuple(_running(entry, by_name.get(entry["name"])) for entry in entries)


def _configured(entry: model.Service) -> Service:
    endpoint = entry.address
    return Service(
        entry.name,
        (entry.protocol or "tcp") if endpoint else "ip",
        endpoint.address if endpoint else b"",
        endpoint.port if endpoint else 0,
        entry.address_family,
        tuple(_configured_server(entry, server) for server in entry.servers),
        entry.local_addresses,
        (entry.local_ports.low, entry.local_ports.high),
        entry.interface or "",
    )


def _configured_server(service: model.Service, server: model.Server) -> Server:
    forwarder = service.forwarder(server)
    tunnel = forwarder if isinstance(forwarder, Tun) else Tun()
    endpoint = server.address
    return Server(endpoint.address, endpoint.port, forwarder.name, tunnel, weight=server.weight)


def _running(entry: ServiceEntry, known: Service | None) -> Service:
    service = Service(
        entry["name"],
        entry["protocol"],
        pack(entry["address"]) if entry["address"] else b"",
        entry["port"],
        entry["family"],
        tuple(_running_server(server) for server in entry["servers"]),
        tuple(map(pack, entry["local_addresses"])),
    )
    if known is None:
        return service
    return replace(service, local_ports=known.local_ports, interface=known.interface)


def _running_server(entry: ServerEntry) -> Server:
    tunnel = Tun()
    match entry["tunnel"]:
        case "ipip" | "gue" | "gre" as kind:
            tunnel = Tun(kind, entry["tunnel_port"], entry["tunnel_checksum"])
    return Server(
        pack(entry["address"]),
        entry["port"],
        entry["forward"],
        tunnel,
        _counts(entry),
        entry["weight"],
        entry["drain"] is not None,
    )


def _counts(entry: ServerEntry) -> Counts:
    stats, seen = entry["stats"], entry["evidence"]
    return Counts(
        entry["active"] + entry["inactive"],
        stats["in_packets"],
        stats["out_packets"],
        heard_ago_s=seen["heard_ago_s"],
        waiting=seen["waiting"],
        waiting_s=seen["waiting_s"],
        tried_ago_s=seen["tried_ago_s"],
        refused=seen["refused"],
        refused_port=seen["refused_port"],
        refused_ago_s=seen["refused_ago_s"],
        repeated=seen["repeated"],
    )
