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
from lvsd.core.template import Template
from lvsd.core.verdict import Reason

if TYPE_CHECKING:
    from lvsd.core.connection_table import ConnectionTable
    from lvsd.core.service import RealServer, Service
    from lvsd.core.settings import Settings
    from lvsd.core.template import TemplateKey
    from schedulers.base import Flow


def choose(
    service: Service,
    flow: Flow,
    protocol: int,
    table: ConnectionTable,
    settings: Settings,
    now: float,
) -> RealServer | Template | Reason:
    """Return a new connection's server, or the template that promises it, or why it has none.

    A persistent service's client gets a template, if it has none that holds.
    """
    if not service.config.persistence_s:
        return service.pick(flow, now)
    key = template_key(service, flow, protocol)
    template = table.templates.get(key)
    if template is not None and not holds(template, settings):
        table.retire(template)
        template = None
    if template is None:
        server = service.pick(flow, now)
        if isinstance(server, Reason):
            return server
        template = Template(key, server, float(service.config.persistence_s))
        template.expires = now + template.timeout
        table.add_template(template)
        server.templates += 1
    else:
        template.expires = now + template.timeout
    return template


def adopt(template: Template, table: ConnectionTable, settings: Settings, now: float) -> bool:
    """Take in a template as somebody else knew it, for its whole time from ``now`` on.

    Return False where its server may not be used, or there is one with its key.
    """
    if template.key in table.templates or not holds(template, settings):
        return False
    template.expires = now + template.timeout
    table.add_template(template)
    template.server.templates += 1
    return True


def holds(template: Template, settings: Settings) -> bool:
    """Whether a template's server may still be used (ip_vs_check_template)."""
    server = template.server
    if not server.available or server.leaving:
        return False
    return not (settings.expire_quiescent_template and server.weight == 0)


def template_key(service: Service, flow: Flow, protocol: int) -> TemplateKey:
    """Return the key under which this client's template for the service is kept."""
    vip, vport = flow.destination, flow.destination_port
    network = mask(flow.source, service.config.prefix)
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
