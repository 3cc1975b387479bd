"""New connections: the path, the local end and the translation that one gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders.base import Hop
from lvsd.core.connection import Connection, TranslatedConnection
from lvsd.core.local_ports import LocalPorts
from lvsd.core.path import leave, path_to
from lvsd.core.sequence_numbers import SequenceNumbers
from lvsd.core.verdict import Reason
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.translator import Translator
from lvsd.packet.view import TCP, UDP, split_key
from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from lvsd.core.local_ports import FreePorts
    from lvsd.core.path import Path
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import RealServer
    from lvsd.core.timeouts import Timeouts
    from schedulers.base import Flow

TRANSLATED: Final = frozenset({TCP, UDP})
"""The protocols that FULLNAT knows."""


class Connector:
    """Makes connections, and takes back what they hold when they end.

    ``client_address`` counts what real servers were told of clients, ``fullnat_tcp`` is TCP as
    FULLNAT times it. Where all ports towards a real server are taken, ``make_room`` is to end a
    connection that is still opening.
    """

    def __init__(
        self,
        by_key: Mapping[bytes, Connection],
        timeouts: Timeouts,
        origin: Origin,
        make_room: Callable[[TranslatedConnection], None],
    ) -> None:
        self._timeouts = timeouts
        self.client_address = ClientAddressCounts()
        self._numbers = SequenceNumbers(origin)
        self.local_ports = LocalPorts(by_key, origin.port)
        self._make_room = make_room

    def connect(
        self,
        server: RealServer,
        flow: Flow,
        protocol: int,
        rport: int,
        key: bytes,
        owned: Container[bytes] | None,
        now: float,
    ) -> Connection | Reason:
        """Return a new connection, counted as its server's, or why there cannot be one.

        ``key`` is the client's packet's, ``owned`` the addresses of this host (None: all are).
        Where there is none, or a forwarder fails, nothing is counted or held.
        """
        translated = server.forwarder.per_connection
        if server.source is None and (translated or server.way.needs_source):
            return Reason.NO_ROUTE
        reply_key, ports = key, None
        if translated:
            if protocol not in TRANSLATED:
                return Reason.NOT_TRANSLATED
            taken = self._take_port(server, protocol, rport, owned)
            if taken is None:
                return Reason.NO_LOCAL_PORT
            reply_key, ports = taken
        try:
            connection = self._connection(server, flow, protocol, rport, key, reply_key, ports, now)
        except Exception as error:  # noqa: BLE001 - a forwarder's; it costs this connection
            if ports is not None:
                self.local_ports.give_back(ports, split_key(reply_key)[1][1])
            server.service.fault = error
            return Reason.PLUGIN_FAULT
        path = connection.path
        server.open()
        path.server_stats.connections += 1
        path.service_stats.connections += 1
        return connection

    def _take_port(
        self, server: RealServer, protocol: int, rport: int, owned: Container[bytes] | None
    ) -> tuple[bytes, FreePorts] | None:
        """Return the key of replies to a free local endpoint, and whose port it is; or None."""
        pool, real = server.service.local, (server.address, rport)
        taken = self.local_ports.take(pool, protocol, real, owned)
        if taken is None:
            opening = self.local_ports.oldest_opening(pool, protocol, real, owned)
            if opening is not None:
                self._make_room(opening)
                taken = self.local_ports.take(pool, protocol, real, owned)
        return taken

    def _connection(
        self,
        server: RealServer,
        flow: Flow,
        protocol: int,
        rport: int,
        key: bytes,
        reply_key: bytes,
        ports: FreePorts | None,
        now: float,
    ) -> Connection:
        """Return a connection, a user of its path.

        Where it is translated, ``reply_key`` counts, and its port is one of ``ports``.
        """
        table = self._timeouts.protocol(protocol, server)
        path = path_to(server, table, (flow.destination, flow.destination_port), rport)
        try:
            if ports is not None:
                translator = path.translator or self._translator(path, flow, reply_key)
                number = self._numbers.first(reply_key, now)
                translation = translator.translation(key, reply_key, number)
                self.local_ports.opens(ports, reply_key)
                return TranslatedConnection(key, reply_key, path, translation, ports)
            if path.reply is not None:
                client = flow.source, flow.source_port
                reply_key = make_key(protocol, server.address, rport, *client)
            return Connection(key, reply_key, path)
        except BaseException:
            leave(path)
            raise

    def _translator(self, path: Path, flow: Flow, reply_key: bytes) -> Translator:
        """Make a path's translator, of the plan of its first connection."""
        hop = Hop(
            flow.destination,
            flow.destination_port,
            *split_key(reply_key)[0],
            local=split_key(reply_key)[1],
            client=(flow.source, flow.source_port),
        )
        plan = path.server.forwarder.plan(hop)
        translator = Translator(plan, path.protocol.number, self.client_address)
        path.translator = translator
        path.overhead = translator.growth
        return translator

    def release(self, connection: Connection) -> None:
        """Give back what a connection holds of its server, its template and local ports."""
        server = connection.path.server
        if isinstance(connection, TranslatedConnection):
            self.local_ports.give_back(connection.ports, connection.ends[1][1])
            expected = connection.translation.server_acked
            if expected is not None:
                self._numbers.seen(connection.reply_key, expected)
        if connection.active:
            connection.active = False
            server.deactivate()
        server.close()
        if connection.template is not None:
            connection.template.controlled -= 1
        leave(connection.path)
        server.service.released(server)
        server.service.changed(server)
