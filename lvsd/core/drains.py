"""All drained servers: finds those that are empty, and ends what is left at a deadline."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core import states
from lvsd.core.connection import Connection
from lvsd.core.flows import SENT_AT_ONCE
from lvsd.packet.view import SCTP, TCP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.draining import Draining
    from lvsd.core.flows import Flows
    from lvsd.core.service import RealServer
    from lvsd.core.template import Template
    from lvsd.core.values import ServiceKey

LOOKED_AT_ONCE: Final = 128
"""How many entries one `Drains.tick` looks at; as many as `Upkeep.tick`, for the same reason."""

WATCHED_AT_ONCE: Final = 1000
"""How many drained servers it looks at."""

REUSABLE: Final = frozenset(
    {
        *(states.TCP_FIN_WAIT, states.TCP_CLOSE_WAIT, states.TCP_LAST_ACK),
        *(states.TCP_TIME_WAIT, states.TCP_CLOSE),
    }
)
"""States of TCP in which a SYN from the client begins a new connection."""


def is_reused(connection: Connection) -> bool:
    """Whether a packet that opens a connection begins a new one, as this one is closing."""
    if connection.protocol == TCP:
        return connection.state in REUSABLE
    return connection.protocol == SCTP and connection.state == states.SCTP_CLOSED


def is_closed(connection: Connection) -> bool:
    """Whether both ends have closed a connection, as far as its packets come by here."""
    if connection.protocol != TCP:
        return connection.protocol == SCTP and connection.state == states.SCTP_CLOSED
    if connection.state in {states.TCP_TIME_WAIT, states.TCP_CLOSE, states.TCP_LAST_ACK}:
        return True
    # Of a server's FIN nothing is seen where its replies bypass the director.
    return connection.state == states.TCP_FIN_WAIT and connection.path.key[-1].bypasses


class Emptied(NamedTuple):
    """A drained server that has no connections left; the deadline cut ``ended`` of them short.

    ``address`` is packed.
    """

    service: ServiceKey
    address: bytes
    port: int
    ended: int


class Drains:
    """The drained servers. `told` hands those found empty to whoever runs the core."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._draining: dict[RealServer, Draining] = {}
        self._waiting: Iterator[RealServer] | None = None
        self._search: Iterator[Connection | Template] | None = None
        self._is_search_due = False
        self._emptied: list[Emptied] = []

    def __len__(self) -> int:
        return len(self._draining)

    def begin(self, server: RealServer, now: float) -> None:
        """Start the clock of a server, if it is drained."""
        drain = server.drain
        if drain is None:
            return
        drain.begin(now)
        self._draining[server] = drain

    def tick(self, now: float) -> bool:
        """End connections past their deadline and note empty servers, a limited number at a time.

        Return whether there is more to do.
        """
        if not self._draining:
            return False
        waiting = self._waiting or iter(tuple(self._draining))
        some = list(islice(waiting, WATCHED_AT_ONCE))
        self._waiting = waiting if len(some) == WATCHED_AT_ONCE else None
        for server in some:
            self._watch(server, now)
        self._search_on()
        return self._waiting is not None or self._search is not None

    def told(self) -> list[Emptied]:
        """Return the servers found empty since the last call."""
        emptied, self._emptied = self._emptied, []
        return emptied

    def _watch(self, server: RealServer, now: float) -> None:
        drain = self._draining.get(server)
        if drain is None or server.drain is not drain or not server.available:  # they came back
            self._draining.pop(server, None)
            return
        if server.total:
            drain.is_empty = False
            if drain.deadline is not None and now >= drain.deadline:
                drain.is_over = self._is_search_due = True
        self._note_empty(server, drain)

    def _note_empty(self, server: RealServer, drain: Draining) -> None:
        """Note, once, that a server has no connections."""
        if not (server.total or drain.is_empty):
            drain.is_empty = True
            self._emptied.append(Emptied(server.service.key, *server.config.place, drain.ended))

    def _search_on(self) -> None:
        """Look at more entries, and end those of servers past their deadline.

        A connection whose expiry moves closer meanwhile may be missed. Then the server is not empty
        at the next tick, and the search begins again.
        """
        if self._search is None:
            if not self._is_search_due:
                return
            self._search = self._flows.table.walk()
        self._is_search_due = False
        departures = self._flows.departures
        enough = len(departures) + SENT_AT_ONCE
        looked_at = 0
        for entry in islice(self._search, LOOKED_AT_ONCE):
            looked_at += 1
            self._look_at(entry)
            if len(departures) >= enough:
                return
        if looked_at < LOOKED_AT_ONCE:
            self._search = None
            for server, drain in self._draining.items():
                if drain.is_over:
                    self._note_empty(server, drain)

    def _look_at(self, entry: Connection | Template) -> None:
        """End a connection of a server past its deadline, and its template with the last one."""
        template: Template | None
        if isinstance(entry, Connection):
            drain = entry.path.server.drain
            if drain is None or not drain.is_over:
                return
            template = entry.template
            drain.ended += not is_closed(entry)
            self._flows.reset(entry)
            self._flows.end(entry)
        else:
            template = entry
        if template is None or template.controlled:
            return
        drain = template.server.drain
        if drain is not None and drain.is_over:
            self._flows.forget(template)
