"""Checks a service, and a real server against its service, wherever the change comes from.

The core relies on these checks. A configuration is checked in more detail, with the line of each
fault (`lvsd.config.rules`).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from lvsd.core.states import SCTP, UDP
from lvsd.errors import ControlError
from lvsd.packet.address import text

if TYPE_CHECKING:
    from lvsd.core.values import ServerConfig, ServiceConfig


def check_service(service: ServiceConfig) -> None:
    """Raise ControlError if a service contradicts itself."""
    if service.one_packet and not _is_udp(service):
        raise ControlError("One-Packet Scheduling is only for UDP virtual services")
    length = 8 * _address_length(service)
    if service.prefix is not None and not 0 < service.prefix <= length:
        raise ControlError(f"a persistence prefix of {service.prefix} bits: expected 1 to {length}")
    if any(len(each) * 8 != length for each in service.local.addresses):
        raise ControlError("a local address is not of the service's family")


def local_fault(service: ServiceConfig) -> str:
    """Return what is wrong with the addresses that a service is to send from, nothing if all is.

    A configuration wants the same of them (`lvsd.config.modes`).
    """
    seen = set()
    for each in service.local.addresses:
        if each in seen:
            return f"{text(each)} a second time"
        seen.add(each)
        if not _is_reachable(each):
            return f"{text(each)} is not an address that other hosts reach"
        if each == service.key.vip:
            return f"{text(each)} is the service's own"
    return ""


def check_server(service: ServiceConfig, server: ServerConfig) -> None:
    """Raise ControlError if a real server is impossible, or does not fit its service."""
    if server.lower > server.upper:
        raise ControlError("Numerical result out of range: the lower threshold is above the upper")
    if not _is_one_hosts(server.address):
        raise ControlError(
            "Invalid operation.  Possibly wrong module version, address not unicast, ..."
        )
    forwarder = server.forwarder
    if not forwarder.any_family and len(server.address) != _address_length(service):
        raise ControlError(
            f"{server.label} is not of the service's family, as {forwarder.name} needs"
        )
    # A mark's packets have many ports: a server's own port means nothing there, as in the kernel.
    if not (forwarder.maps_port or service.key.fwmark) and server.port != service.key.vport:
        port = service.key.vport
        raise ControlError(
            f"{server.label}: {forwarder.name} changes no port, so it has to be {port}"
        )
    if forwarder.per_connection:
        if not service.local.addresses:
            raise ControlError(f"{server.label}: fullnat needs local addresses of the service")
        if service.one_packet:
            raise ControlError(f"{server.label}: fullnat needs connections, not single packets")
        if service.key.protocol == SCTP:
            raise ControlError(f"{server.label}: fullnat carries tcp and udp, not sctp")


def _is_one_hosts(address: bytes) -> bool:
    """Whether an address is unicast, and not link-local."""
    first = address[0]
    if len(address) == 4:
        return 0 < first < 224 or (first >= 240 and address != b"\xff\xff\xff\xff")
    is_link_local = first == 0xFE and address[1] & 0xC0 == 0x80
    return first != 0xFF and not is_link_local and any(address)


def _is_reachable(address: bytes) -> bool:
    """Whether other hosts reach an address, as a configuration wants it."""
    found = ip_address(address)
    is_strange = found.is_reserved if found.version == 4 else found.ipv4_mapped is not None
    return _is_one_hosts(address) and not (found.is_loopback or found.is_link_local or is_strange)


def _is_udp(service: ServiceConfig) -> bool:
    """Whether the service may get UDP: a mark's packets are of any protocol."""
    return bool(service.key.fwmark) or service.key.protocol == UDP


def _address_length(service: ServiceConfig) -> int:
    """Return the length of the service's addresses in bytes, 4 or 16."""
    key = service.key
    return len(key.vip) or (16 if key.family == 6 else 4)
