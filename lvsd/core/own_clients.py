"""Clients on the director itself: which of their packets a service takes.

What a program here sends is met in hook OUTPUT. To a VIP that is an address of the host the kernel
gives that VIP as its source, too. NAT and FULLNAT have replies come back to the director in any
case. In DR and TUN a real server would have to answer to an address that is its own, so that where
the host has the VIP these packets are left to it, and no connection is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from schedulers.base import Flow


def takes(
    services: ServiceTable,
    service: Service,
    flow: Flow,
    protocol: int,
    own: Container[bytes] | None,
) -> bool:
    """Whether a service takes a packet of the host's own, as a request.

    ``own`` are the addresses of this host (None: all are). A packet from a virtual endpoint is a
    reply, be it to a client of any port of a VIP.
    """
    if services.lookup(protocol, flow.source, flow.source_port, 0) is not None:
        return False
    if own is not None and flow.destination not in own:
        return True
    return not service.has_bypass
