"""What a listing shows of a connection or a template, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvsd.core.walk import walk
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.connection import Connection
    from lvsd.core.connection_table import ConnectionTable
    from lvsd.core.template import Template


RETIRED_PORT = 0xFFFF
"""What the kernel shows as the ports of a template that is no longer found."""


class Row(NamedTuple):
    """One line of ``lvsadm -Lnc``. Addresses packed, ports host order.

    ``expires`` is on the director's clock, in seconds. ``protocol`` 0 and ``fwmark`` name the
    template of a firewall mark's service. ``local`` is FULLNAT's local endpoint.
    """

    protocol: int
    client: bytes
    client_port: int
    vip: bytes
    vport: int
    rip: bytes
    rport: int
    state_name: str
    expires: float
    template: bool = False
    fwmark: int = 0
    local: tuple[bytes, int] | None = None


def rows(table: ConnectionTable) -> Iterator[Row]:
    """Yield a row per template and connection, oldest first.

    The table may change meanwhile: what ends before its turn is left out, what is new may be, too.
    What is pending is taken in, and comes first.
    """
    for _, template in walk(table.templates, table.removed, lambda key, each: key is each.key):
        yield _template_row(template)
    for template in tuple(table.retired):
        if template in table.retired:
            yield _template_row(template)
    told: set[int] = set()
    if table.pending is not None:
        for taken in table.pending.taking_in():
            if taken is not None:
                told.add(taken.kept)
                yield connection_row(taken)
    for key, connection in walk(
        table.by_key, table.removed, lambda key, each: key is each.key or key is each.reply_key
    ):
        if key is connection.key and connection.kept not in told:
            yield connection_row(connection)


def connection_row(connection: Connection) -> Row:
    """Return the row of a connection."""
    (client, client_port), (vip, vport) = split_key(connection.key)
    server = connection.path.server
    rport = vport if connection.template else server.port or vport
    local = None
    if connection.path.key[-1].maps_port:
        (_, rport), far = split_key(connection.reply_key)
        local = None if connection.local is None else far
    return Row(
        connection.protocol,
        client,
        client_port,
        vip,
        vport,
        server.address,
        rport,
        connection.state_name,
        connection.expires,
        template=False,
        fwmark=connection.fwmark,
        local=local,
    )


def _template_row(template: Template) -> Row:
    protocol, client, vip, vport = template.key
    server = template.server
    rport = server.port if vport else 0
    if template.retired and vport != RETIRED_PORT:
        vport = rport = RETIRED_PORT
    return Row(
        protocol,
        client,
        0,
        vip,
        vport,
        server.address,
        rport,
        "ASSURED" if template.assured else "NONE",
        template.expires,
        template=True,
        fwmark=0 if protocol else int.from_bytes(vip, "big"),
    )
