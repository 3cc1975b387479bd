"""New connections: the path, the local end and the translation that one gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forwarders.base import Hop
from lvsd.core import states
from lvsd.core.connection import Connection, TranslatedConnection
from lvsd.core.local_ports import SequenceNumbers
from lvsd.core.path import leave, path_to
from lvsd.core.verdict import Reason
from lvsd.packet.client_address import ClientAddressCounts
from lvsd.packet.translator import Translator
from lvsd.packet.view import TCP, UDP, split_key
from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

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
        self, taken: Container[bytes], protocols: Mapping[int, Protocol], secret: bytes
    ) -> None:
        self._taken = taken
        self._protocols = protocols
        self.fullnat_tcp = states.fullnat_tcp()
        self.client_address = ClientAddressCounts()
        self._numbers = SequenceNumbers(secret)

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
        """
        connection: Connection | Reason
        if server.forwarder.per_connection:
            connection = self._translate(server, flow, protocol, rport, key, owned, now)
            if isinstance(connection, Reason):
                return connection
            path = connection.path
        elif server.source is None and server.way.needs_source:
            return Reason.NO_ROUTE
        else:
            virtual = flow.destination, flow.destination_port
            path = path_to(server, self._protocols[protocol], virtual, rport)
            reply_key = key
            if path.reply is not None:
                source, port = flow.source, flow.source_port
                reply_key = make_key(protocol, server.address, rport, source, port)
            connection = Connection(key, reply_key, path)
        server.open()
        path.server_stats.connections += 1
        path.service_stats.connections += 1
        return connection

    def _translate(
        self,
        server: RealServer,
        flow: Flow,
        protocol: int,
        rport: int,
        key: bytes,
        owned: Container[bytes] | None,
        now: float,
    ) -> TranslatedConnection | Reason:
        """Return a connection over a local endpoint of ours."""
        if server.source is None:
            return Reason.NO_ROUTE
        if protocol not in TRANSLATED:
            return Reason.NOT_TRANSLATED
        real = server.address, rport
        reply_key = server.service.local.take(protocol, real, owned, self._taken)
        if reply_key is None:
            return Reason.NO_LOCAL_PORT
        virtual = flow.destination, flow.destination_port
        table = self.fullnat_tcp if protocol == TCP else self._protocols[protocol]
        path = path_to(server, table, virtual, rport)
        translator = path.translator
        if translator is None:
            client, local = (flow.source, flow.source_port), split_key(reply_key)[1]
            plan = server.forwarder.plan(Hop(*virtual, *real, local, client))
            translator = path.translator = Translator(plan, protocol, self.client_address)
            path.overhead = translator.growth
        number = self._numbers.first(reply_key, now)
        translation = translator.translation(key, reply_key, number)
        return TranslatedConnection(key, reply_key, path, translation)

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
        server.service.changed(server)
        if connection.template is not None:
            connection.template.controlled -= 1
        leave(connection.path)
        server.service.released(server)
