"""Persistence: a client, or its network, keeps its real server for a while.

A template remembers (client & netmask, VIP, vport) -> real server. What its key holds depends
on the service (ip_vs_sched_persist):

==========================  ========  ===========  ==========  =========================
service                     protocol  VIP          vport       port at the real server
==========================  ========  ===========  ==========  =========================
VIP:port                    as is     VIP          vport       the server's
FTP (port 21), its port     as is     VIP          0           the server's
port 0, or FTP's data       as is     VIP          0           the client's choice
firewall mark               0         mark         0           the client's choice
==========================  ========  ===========  ==========  =========================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.service import FTP_PORT

if TYPE_CHECKING:
    from lvsd.core.connection import TemplateKey
    from lvsd.core.service import Service
    from schedulers.base import Flow


def template_key(service: Service, flow: Flow, protocol: int) -> TemplateKey:
    """Return the key under which this client's template for the service is kept."""
    vip, vport = flow.destination, flow.destination_port
    network = mask(flow.source, service.prefix)
    if vport == service.key.vport:
        return protocol, network, vip, vport if vport != FTP_PORT else 0
    if service.key.fwmark:
        return 0, network, service.key.fwmark.to_bytes(4, "big"), 0
    return protocol, network, vip, 0


def mask(address: bytes, prefix: int | None) -> bytes:
    """Return the packed address with all but its first ``prefix`` bits zero."""
    bits = len(address) * 8
    if prefix is None or prefix >= bits:
        return address
    host_bits = bits - prefix
    network = int.from_bytes(address, "big") >> host_bits << host_bits
    return network.to_bytes(len(address), "big")
