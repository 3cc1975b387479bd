"""New connections: the path, the local end and the translation that one gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders.base import Hop
from lvsd.core import states
from lvsd.core.connection import Connection, TranslatedConnection
from lvsd.core.path import leave, path_to
from lvsd.core.sequence_numbers import SequenceNumbers
from lvsd.core.verdict import Reason
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.translator import Translator
from lvsd.packet.view import TCP, UDP, split_key
from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from lvsd.core.path import Path
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import RealServer
    from lvsd.core.states import Protocol
    from schedulers.base import Flow

TRANSLATED: Final = frozenset({TCP, UDP})
"""The protocols that FULLNAT knows."""


class Connector:
    """Makes connections, and takes back what they hold when they end.

    ``client_address`` counts what real servers were told of clients, ``fullnat_tcp`` is TCP as
    FULLNAT times it.
    """

    def __init__(
        self, taken: Container[bytes], protocols: Mapping[int, Protocol], origin: Origin
    ) -> None:
        self._taken = taken
        self._protocols = protocols
        self.fullnat_tcp = states.fullnat_tcp()
        self.client_address = ClientAddressCounts()
        self._numbers = SequenceNumbers(origin)
        self._first_port = origin.port

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
        reply_key = key
        real = server.address, rport
        if translated:
            if protocol not in TRANSLATED:
                return Reason.NOT_TRANSLATED
            taken = server.service.local.take(protocol, real, owned, self._taken, self._first_port)
            if taken is None:
                return Reason.NO_LOCAL_PORT
            reply_key = taken
        try:
            connection = self._connection(server, flow, protocol, rport, key, reply_key, now)
        except Exception as error:  # noqa: BLE001 - a forwarder's; it costs this connection
            if translated:
                lip, _ = split_key(reply_key)[1]
                server.service.local.give_back(protocol, real, lip)
            server.service.fault = error
            return Reason.PLUGIN_FAULT
        path = connection.path
        server.open()
        path.server_stats.connections += 1
        path.service_stats.connections += 1
        return connection

    def _connection(
        self,
        server: RealServer,
        flow: Flow,
        protocol: int,
        rport: int,
        key: bytes,
        reply_key: bytes,
        now: float,
    ) -> Connection:
        """Return a connection, a user of its path; ``reply_key`` counts where it is translated."""
        translated = server.forwarder.per_connection
        table = self._protocols[protocol]
        if translated and protocol == TCP:
            table = self.fullnat_tcp
        path = path_to(server, table, (flow.destination, flow.destination_port), rport)
        try:
            if translated:
                translator = path.translator or self._translator(path, flow, reply_key)
                number = self._numbers.first(reply_key, now)
                translation = translator.translation(key, reply_key, number)
                return TranslatedConnection(key, reply_key, path, translation)
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
            real, (lip, _) = connection.ends
            protocol = connection.protocol
            server.service.local.give_back(protocol, real, lip)
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
