"""The life of every connection: each of its steps is taken here, and nowhere else.

===========  =====================================================================================
`reserve`    room in the table, a real server, a path to it and for FULLNAT a local end; counted
             as the server's, so that the next decision sees it
`bind`       its client and its first state; from now on packets find it
`adopt`      both at once, for a connection that somebody else knew: a peer, a file, an engine
             before this one
`move`       another state, which the counts of its server follow
`unlink`     packets no longer find it; its server still has it
`end`        what it held is given back
===========  =====================================================================================

A step that fails takes back what it took. `Observer` objects are told of each connection that was
opened, moved or ended, and are asked before one expires; nothing here knows who they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core import states
from lvsd.core.admission import Admission
from lvsd.core.connection import Connection
from lvsd.core.connection_table import ConnectionTable
from lvsd.core.observers import Observers
from lvsd.core.path import has_way, leave, path_to
from lvsd.core.persistence import choose
from lvsd.core.symptoms import note_answered
from lvsd.core.template import Template
from lvsd.core.timeouts import Timeouts
from lvsd.core.translations import Translations
from lvsd.core.verdict import Departure, Reason
from lvsd.packet.view import TCP, UDP, split_key
from lvsd.packet.view import key as make_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Container

    from forwarders.base import End
    from lvsd.core.free_ports import FreePorts
    from lvsd.core.known import Known
    from lvsd.core.path import Path
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings

TRANSLATED: Final = frozenset({TCP, UDP})
"""The protocols that FULLNAT knows."""

SENT_AT_ONCE: Final = 512
"""Packets to send, RSTs of FULLNAT connections that ended, after which the rest is left to later:
making and sending one takes some 10 us, and interfaces have room for a thousand."""

_UNBOUND: Final = b""


class Flows:
    """All connections and templates of a director, and what they hold.

    ``client_address`` counts what real servers were told of clients. What is to be said to either
    end of a connection that ends goes into ``departures``.
    """

    def __init__(
        self,
        services: ServiceTable,
        settings: Settings,
        departures: list[Departure],
        origin: Origin,
        now: float,
    ) -> None:
        self._settings = settings
        self.departures = departures
        self.table = ConnectionTable(now)
        self.timeouts = Timeouts()
        self._translations = Translations(self.table.find, origin, self.make_room)
        self.local_ports = self._translations.local_ports
        self.numbers = self._translations.numbers
        self.client_address = self._translations.client_address
        self.observers = Observers()
        self.admission = Admission(self.table, services, settings, self.make_room, self.forget)

    # --- a connection begins ------------------------------------------------------------------

    def reserve(
        self,
        service: Service,
        flow: Flow,
        protocol: int,
        owned: Container[bytes] | None,
        now: float,
    ) -> Connection | Reason:
        """Return a connection that has no client yet, or why there can be none.

        It is to be bound or ended. ``flow`` is what the service's scheduler may look at, ``owned``
        are the addresses of this host (None: all are). Where there is none, or a plug-in fails,
        nothing is counted or held.
        """
        no_room = self.admission.admit(service, 1 + bool(service.config.persistence_s))
        if no_room:
            return no_room
        chosen = choose(service, flow, protocol, self.table, self._settings, now)
        if isinstance(chosen, Reason):
            return chosen
        template, server, vport = None, chosen, flow.destination_port
        if isinstance(server, Template):
            template, server = server, server.server
        mapped = template is None or vport == service.key.vport
        rport = (server.port or vport) if mapped else vport
        if server.way.source is None and not has_way(server):
            return Reason.NO_ROUTE
        taken = None
        if server.config.forwarder.per_connection:
            found = self._local_end(server, protocol, rport, owned)
            if isinstance(found, Reason):
                return found
            taken = found
        virtual = flow.destination, vport
        connection = self._connection(server, protocol, virtual, rport, taken)
        if not isinstance(connection, Reason):
            server.open()
            if template is not None:
                _control(connection, template)
        return connection

    def _local_end(
        self, server: RealServer, protocol: int, rport: int, owned: Container[bytes] | None
    ) -> tuple[bytes, FreePorts] | Reason:
        """Return a local end that is free, as the key of replies to it, or why there is none."""
        if protocol not in TRANSLATED:
            return Reason.NOT_TRANSLATED
        taken = self._translations.take(server, protocol, rport, owned)
        return Reason.NO_LOCAL_PORT if taken is None else taken

    def _connection(
        self,
        server: RealServer,
        protocol: int,
        virtual: End,
        rport: int,
        taken: tuple[bytes, FreePorts] | None,
    ) -> Connection | Reason:
        """Return a connection by a path of its own, not counted yet.

        It has the local end that was ``taken``, if any; if there is none, nobody has that.
        """
        table = self.timeouts.protocol(
            protocol, server.config.forwarder, server.service.config.timing
        )
        try:
            path = path_to(server, table, virtual, rport)
        except BaseException as error:  # noqa: BLE001 - a forwarder's; it costs this connection
            if taken is not None:
                self._translations.give_back(*taken)
            server.service.fault = error
            return Reason.PLUGIN_FAULT
        connection = Connection(_UNBOUND, _UNBOUND, path)
        if taken is not None:
            connection.reply_key, connection.local = taken
        return connection

    def bind(
        self, connection: Connection, key: bytes, flow: Flow, event: int, now: float
    ) -> Reason | None:
        """Give a reserved connection its client; return None, or why that failed: then it is ended.

        ``key`` is that of the packet that opens it, ``flow`` the same taken apart, ``event`` what
        the packet is to its state. One of a service that has each packet for itself
        (``one_packet``) is not put into the table.
        """
        path = connection.path
        server, protocol = path.server, path.protocol
        service = server.service
        connection.key = key
        try:
            if connection.local is not None:
                self._translations.begin(connection, connection.local, flow, now)
            elif path.reply is None:
                connection.reply_key = key
            else:
                rport = path.ends.rport
                if rport is None:
                    rport = flow.destination_port
                connection.reply_key = make_key(
                    protocol.number, server.address, rport, flow.source, flow.source_port
                )
        except BaseException as error:  # noqa: BLE001 - a forwarder's; it costs this connection
            self.end(connection)
            service.fault = error
            return Reason.PLUGIN_FAULT
        path.server_stats.connections += 1
        path.service_stats.connections += 1
        state = connection.state = path.request_states[event << 4]
        connection.expires = now + path.timeouts[state]
        if protocol.active[state]:
            server.activate()
        service.changed(server)  # one that is not active is another one's, by a template of both
        if state == protocol.established:
            _answered(connection, path)
        if not (service.config.one_packet and protocol.number == UDP):
            self.table.add(connection)
            if self.observers.present:
                self.observers.opened(connection)
        return None

    def adopt(self, known: Known, now: float) -> Connection | Reason:
        """Take in a connection as somebody else knew it; return it, or why it cannot go on.

        It is counted as its server's, but not among the connections that were opened here. Raise
        ValueError where it contradicts one that there is, or itself. Of what cannot
        go on no local port is held; that it was counted already is for the caller to take back.
        """
        server, service = known.server, known.server.service
        client, virtual = split_key(known.key)
        real, _ = split_key(known.reply_key)
        if known.key in self.table.by_key:
            raise ValueError("there is a connection with this key")
        if not known.is_counted:
            no_room = None if has_way(server) else Reason.NO_ROUTE
            no_room = no_room or self.admission.admit(service, 1)
            if no_room:
                return no_room
        taken = None
        if server.config.forwarder.per_connection:
            local = known.local or self._translations.claim(
                service.config.local, known.reply_key, now
            )
            taken = known.reply_key, local
        rport = real[1] if server.config.forwarder.maps_port else virtual[1]
        connection = self._connection(server, known.key[0], virtual, rport, taken)
        if isinstance(connection, Reason):
            return connection
        connection.key, connection.reply_key = known.key, known.reply_key
        connection.kept = known.kept
        if connection.local is not None:
            try:
                flow = Flow(*client, *virtual)
                self._translations.go_on(connection, flow, known.memory)
            except BaseException:
                self._translations.give_back(connection.reply_key, connection.local)
                leave(connection.path)
                raise
        _control(connection, known.template)
        self._take_in(connection, known, now)
        return connection

    def _take_in(self, connection: Connection, known: Known, now: float) -> None:
        """Have an adopted connection in the table, and count it, if it is not counted yet."""
        path, state = connection.path, known.state
        server, table = path.server, self.table
        connection.state = state
        expires = known.expires
        connection.expires = now + path.timeouts[state] if expires is None else expires
        if known.is_counted:
            table.uncount(server.service.share)
        else:
            server.take_over(1, path.protocol.active[state])
            server.service.changed(server)
        if connection.template is not None and state == path.protocol.established:
            connection.template.assured = True
        table.add(connection)
        if self.observers.present:
            self.observers.opened(connection)

    # --- and goes on --------------------------------------------------------------------------

    def move(self, connection: Connection, state: int) -> None:
        """Move a connection to another state; `ConnectionTable.hasten` has to follow."""
        path = connection.path
        opening, before = path.protocol.opening, connection.state
        if opening[state] != opening[before]:
            self.table.lift(connection)
        connection.state = state
        self._count(connection, path, before, state)
        if self.observers.present:
            self.observers.moved(connection, before)

    def _count(self, connection: Connection, path: Path, before: int, state: int) -> None:
        """Let a server's counts follow a connection's state."""
        protocol = path.protocol
        active = protocol.active[state]
        if active != protocol.active[before]:
            server = path.server
            if active:
                server.activate()
            else:
                server.deactivate()
            server.service.changed(server)
        if state == protocol.established:
            _answered(connection, path)

    # --- and ends -----------------------------------------------------------------------------

    def unlink(self, connection: Connection) -> None:
        """Let packets no longer find a connection; it is still to be ended.

        Until then its server has it, as the scheduler is to see: the kernel ends one that is
        replaced with the next tick of the clock (ip_vs_conn_expire_now).
        """
        self.table.remove(connection)
        connection.due = 0

    def end(self, connection: Connection) -> None:
        """Forget a connection, give back what it holds, and count it no longer."""
        if connection.due:  # as `unlink` does, a call sooner (bench/table.py)
            self.table.remove(connection)
            connection.due = 0
        if self.observers.present and connection.key:
            self.observers.ended(connection)
        path = connection.path
        server = path.server
        if connection.local is not None:
            self._translations.end(connection, connection.local)
        if path.protocol.active[connection.state]:
            server.deactivate()
        server.close()
        if connection.template is not None:
            connection.template.controlled -= 1
        leave(path)
        server.service.released(server)
        server.service.changed(server)

    def expire(self, connection: Connection, now: float) -> None:
        """End a connection whose time is over, and tell both ends of it, unless both had closed it.

        It lives on where an observer has seen a packet of it since.
        """
        if self.observers.present:
            seen = self.observers.last_seen(connection)
            expires = seen + connection.path.timeouts[connection.state]
            if expires > now:
                connection.expires = expires
                self.table.rearm(connection)
                return
        self.table.drop(connection)
        connection.due = 0
        if connection.translation is None:
            self.end(connection)
            return
        try:
            self.reset(connection)
        finally:
            self.end(connection)

    def reset(self, connection: Connection) -> None:
        """Tell both ends of a translated connection that it is over, unless both had closed it.

        Either would go on with it later, and get no answer.
        """
        translation = connection.translation
        if (
            translation is not None
            and connection.protocol == TCP
            and connection.state in states.TCP_OPEN
        ):
            for data in translation.resets() or ():
                self.departures.append(Departure(data))

    def make_room(self, connection: Connection) -> None:
        """End a connection that is still opening, for another one.

        Where it is translated its server is told, if that has answered.
        """
        if connection.translation is not None:
            self.departures += map(Departure, connection.translation.reset_server())
        self.end(connection)

    def forget(self, template: Template) -> None:
        """Forget a template, and what is counted for it."""
        self.table.remove_template(template)
        if self.observers.present:
            self.observers.forgot(template)
        template.server.templates -= 1
        template.server.service.released(template.server)


def _control(connection: Connection, template: Template | None) -> None:
    """Let a template, if there is one, have one more connection."""
    if template is not None:
        connection.template = template
        template.controlled += 1


def _answered(connection: Connection, path: Path) -> None:
    """Take note that the client has an answer."""
    note_answered(path)
    if connection.template is not None:
        connection.template.assured = True
