"""All checks, one file each, in the order in which they are shown: causes before consequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.doctor.checks import (
    arp,
    bypass,
    configuration,
    daemon,
    firewall,
    forwarding,
    interface,
    listening,
    local_addresses,
    local_server,
    mtu,
    neighbour,
    no_server,
    queue,
    refusing,
    reply,
    room,
    route,
    rp_filter,
    virtual_address,
)

if TYPE_CHECKING:
    from lvsd.doctor.finding import Check

CHECKS: Final[tuple[Check, ...]] = (
    configuration.CHECK,
    daemon.CHECK,
    queue.CHECK,
    no_server.CHECK,
    interface.CHECK,
    room.CHECK,
    firewall.CHECK,
    forwarding.CHECK,
    rp_filter.CHECK,
    route.CHECK,
    neighbour.CHECK,
    local_server.CHECK,
    local_addresses.CHECK,
    reply.CHECK,
    refusing.CHECK,
    virtual_address.CHECK,
    listening.CHECK,
    bypass.CHECK,
    arp.CHECK,
    mtu.CHECK,
)
