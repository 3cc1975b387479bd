"""What keys must satisfy together: ipvsadm's and the kernel's rules for services and servers.

The rules read the document as it stands in the file, not the model, so that an error in one
key hides none in another. A rule that needs a value which is itself wrong says nothing. What
only concerns one way of forwarding stands in ``modes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.config import fields, modes
from lvsd.config.document import (
    endpoint_of,
    family_of,
    repeated,
    servers_of,
    tables,
    word_of,
)
from lvsd.config.faults import Fault, shown, unknown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from lvsd.config.document import ServerTable, Table
    from lvsd.config.faults import Key

DEFAULT_SCHEDULER = "wlc"

_NOT_WITH_FWMARK = {
    "address": "expected only one of the two",
    "protocol": "expected none: a fwmark service takes all protocols",
    "interface": "expected none: a mark has no address to put on an interface",
}


_TIMEOUTS = {"tcp_timeout_s": "tcp", "udp_timeout_s": "udp", "udp_answered_timeout_s": "udp"}
"""The protocol that a timeout belongs to."""


def faults(document: Table) -> Iterator[Fault]:
    """Yield everything that is wrong between keys of a document."""
    services = tables(document, (), "service")
    for key, service in services:
        yield from _identity(key, service)
        yield from _flags(key, service)
        yield from _repeated_flags(key, service)
        yield from _persistence(key, service)
        yield from _one_packet(key, service)
        yield from _timeouts(key, service)
        servers = servers_of(service, key)
        yield from _servers(service, servers)
        yield from modes.faults(key, service, servers)
        if "check" in service or any("check" in each or "backup" in each for _, each, _ in servers):
            yield from _checks(key, service, servers)
    yield from repeated("name", (((*key, "name"), table.get("name")) for key, table in services))
    yield from repeated("service", map(_identified, services))


def _checks(key: Key, service: Table, servers: Sequence[ServerTable]) -> Iterator[Fault]:
    from lvsd.config import check_rules  # noqa: PLC0415 - most configurations have no check

    return check_rules.faults(key, service, servers)


def _identity(key: Key, service: Table) -> Iterator[Fault]:
    """Want an address and a protocol, or a firewall mark and a family."""
    if "fwmark" in service:
        for word, expected in _NOT_WITH_FWMARK.items():
            if word in service:
                yield Fault((*key, word), f"set together with fwmark, {expected}")
        return
    if "address" not in service:
        yield Fault((*key, "address"), "missing, expected ADDRESS:PORT, or fwmark instead")
    elif "protocol" not in service:
        yield Fault((*key, "protocol"), "missing, expected one of: tcp, udp, sctp")
    if "family" in service:
        yield Fault((*key, "family"), "set without fwmark, expected none: the address has one")


def _flags(key: Key, service: Table) -> Iterator[Fault]:
    """Want only flags that the scheduler knows."""
    name = service.get("scheduler", DEFAULT_SCHEDULER)
    flags = service.get("scheduler_flags")
    if not isinstance(flags, list):
        return
    try:
        known = sorted(fields.scheduler_class(fields.scheduler(name)).known_flags)
    except ValueError:
        return
    for index, flag in enumerate(flags):
        if not isinstance(flag, str) or flag in known:
            continue
        text = unknown(flag, known) if known else f"{shown(flag)} is unknown, expected none"
        yield Fault((*key, "scheduler_flags", index), f"{text} (the flags of scheduler {name})")


def _repeated_flags(key: Key, service: Table) -> Iterator[Fault]:
    """Want each flag once."""
    flags = service.get("scheduler_flags")
    if isinstance(flags, list):
        at = (*key, "scheduler_flags")
        yield from repeated("flag", (((*at, n), flag) for n, flag in enumerate(flags)))


def _persistence(key: Key, service: Table) -> Iterator[Fault]:
    """Want persistence with any port, and a netmask only with persistence."""
    address = endpoint_of(service)
    persistent = "persistence_s" in service
    if address and address.port == 0 and not persistent:
        text = f"{shown(str(address))} is any port (0), expected persistence_s with it"
        yield Fault((*key, "address"), text)
    if "persistence_netmask" not in service:
        return
    netmask = service["persistence_netmask"]
    if not persistent:
        text = "set without persistence_s, expected only with it"
        yield Fault((*key, "persistence_netmask"), text)
    if family_of(service) == 4 and type(netmask) is int and 32 < netmask <= 128:
        text = f"{netmask} is too large, expected a prefix length from 1 to 32 for IPv4"
        yield Fault((*key, "persistence_netmask"), text)


def _one_packet(key: Key, service: Table) -> Iterator[Fault]:
    """Want one-packet scheduling only for UDP and for marks."""
    protocol = word_of(service, "protocol", ("tcp", "sctp"))
    if service.get("one_packet") is True and protocol:
        text = f"true with protocol {shown(protocol)}, expected only with udp or a fwmark"
        yield Fault((*key, "one_packet"), text)


def _timeouts(key: Key, service: Table) -> Iterator[Fault]:
    """Want a protocol's timeouts only where there may be connections of it."""
    for word, wanted in _TIMEOUTS.items():
        protocol = word_of(service, "protocol", sorted({"tcp", "udp", "sctp"} - {wanted}))
        if word in service and protocol:
            text = f"set with protocol {shown(protocol)}, expected only with {wanted} or a fwmark"
            yield Fault((*key, word), text)


def _servers(service: Table, servers: Sequence[ServerTable]) -> Iterator[Fault]:
    """Want servers apart from the service, each once, with thresholds in order."""
    if virtual := endpoint_of(service):
        for at, _, endpoint in servers:
            if endpoint and endpoint.address == virtual.address:
                text = f"{shown(str(endpoint))} is the service's own address, expected a server's"
                yield Fault((*at, "address"), text)
    if len({endpoint for _, _, endpoint in servers}) < len(servers):
        yield from repeated("server", (((*at, "address"), each) for at, _, each in servers))
    for at, server, _ in servers:
        if "lower_threshold" not in server:
            continue
        lower, upper = server["lower_threshold"], server.get("upper_threshold", 0)
        if type(lower) is int and type(upper) is int and 0 <= upper < lower:
            text = f"{shown(lower)} is above upper_threshold, expected at most {shown(upper)}"
            if not upper:
                text = "set without upper_threshold, expected only with it"
            yield Fault((*at, "lower_threshold"), text)


def _identified(item: tuple[Key, Table]) -> tuple[Key, Hashable | None]:
    """Return what makes two services the same, and the key to blame."""
    key, service = item
    mark, protocol, address = service.get("fwmark"), service.get("protocol"), endpoint_of(service)
    if type(mark) is int:
        return (*key, "fwmark"), (mark, family_of(service))
    if address and isinstance(protocol, str):
        return (*key, "address"), (protocol, address)
    return key, None
