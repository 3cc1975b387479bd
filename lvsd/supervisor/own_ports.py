"""Have the host leave FULLNAT's local ports alone, and FULLNAT leave the host enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from lvsd.core import host_ports
from lvsd.errors import KernelError
from lvsd.io import sysctls

if TYPE_CHECKING:
    from collections.abc import Collection

    from lvsd.core.local_pool import Range
    from lvsd.io.machine import Machine

RANGE: Final = "net.ipv4.ip_local_port_range"
"""It is IPv6's as well."""
RESERVED: Final = sysctls.RESERVED_PORTS

_REMEDY: Final = f"narrow local_ports, or widen {RANGE}"

log = structlog.get_logger("lvsd")


def share(given: Collection[Range], changes: Machine) -> tuple[Range, ...]:
    """Reserve those of the host's ports that FULLNAT gives; return those that it is not to give.

    They are reserved beside those that are so already. ``given`` are the ranges of all services
    with FULLNAT. Where the kernel refuses, that is logged, and a connection of the host's own may
    meet one of FULLNAT's.
    """
    kept: tuple[Range, ...] = ()
    if not given:
        return kept
    try:
        low, high = map(int, sysctls.read(RANGE).split())
        before = host_ports.parse(sysctls.read(RESERVED))
        division = host_ports.divide(given, (low, high), before)
        kept = division.kept
        if division.reserved:
            text = host_ports.write([*before, *division.reserved])
            changes.set_sysctl(RESERVED, text)
            log.info("reserved local ports", sysctl=RESERVED, value=text)
    except (OSError, ValueError, KernelError) as error:
        log.warning("local ports may meet the host's own connections", error=str(error))
        return kept
    if division.left < host_ports.FEW:
        left = division.left
        log.warning("few ports are left to the host's own connections", left=left, remedy=_REMEDY)
    return kept
