"""Records a director's state as it changes, so that the next director can resume from it.

Connections are recorded at once: a slot when one opens, a byte when it changes state, a byte when
it ends. The file is mapped into memory (`lvsd.io.state_file`), so this delays a packet by about a
microsecond. What changes with every packet is recorded now and then (`Keeper.keeping`): counters,
and what translations note of each acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from zlib import crc32

from lvsd.core import snapshot
from lvsd.core.commands import DrainChange, HealthChange, ServerChange
from lvsd.core.connection import Connection
from lvsd.core.kept_drains import KeptDrain, write_drain
from lvsd.core.kept_ramps import KeptRamp, write_ramp
from lvsd.core.observers import Observer
from lvsd.core.snapshot import KeptNumbers, KeptTemplate, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.core.commands import Change
    from lvsd.core.draining import Draining
    from lvsd.core.flows import Flows
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.snapshot import Buffer
    from lvsd.core.stats import Meter, Totals
    from lvsd.core.template import Template
    from lvsd.core.values import ServiceKey

TOGETHER: Final = 32
"""How many objects one step of `Keeper.keeping` looks at; most have not changed."""


class Slots(Protocol):
    """Where the records are."""

    @property
    def buffer(self) -> Buffer:
        """All slots. It is always the same object; it may grow."""

    def take(self) -> int:
        """Return the offset of a free slot, 0 if there is no room."""

    def give_back(self, at: int) -> None:
        """Return a slot to the free ones."""

    def taking_in(self, at: int) -> None:
        """Note which slot is being restored, 0 for none.

        So if restoring a record ends this process, the next one does not try it again.
        """


class Keeper(Observer):
    """Records what `Flows` reports in ``slots``.

    ``servers`` and ``services`` have the offsets of their records, ``drains`` those of drained
    servers together with what is written there, ``ramps`` those of servers that start slowly.
    """

    def __init__(self, flows: Flows, services: ServiceTable, slots: Slots) -> None:
        self._flows = flows
        self._all_services = services
        self._slots = slots
        self._buffer = slots.buffer
        self.servers: dict[RealServer, int] = {}
        self.services: dict[Service, int] = {}
        self._of_key: dict[ServiceKey, Service] = {}
        self.numbers: dict[bytes, int] = {}
        self.drains: dict[RealServer, tuple[int, KeptDrain]] = {}
        self.ramps: dict[RealServer, tuple[int, KeptRamp]] = {}
        self._written: dict[int, tuple[Totals, Totals]] = {}
        """The counters in each slot."""

    # --- as it happens ----------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Record a connection, and its template if that is new."""
        if connection.kept:
            return
        at = self._slots.take()
        if not at:
            return
        server = connection.path.server
        number = self.servers.get(server) or self._keep_server(server)
        if not number:
            self._slots.give_back(at)
            return
        snapshot.write_connection(self._buffer, at, connection, number)
        connection.kept = at
        template = connection.template
        if template is not None and not template.kept and not template.retired:
            self._keep_template(template, number)

    def moved(self, connection: Connection, before: int) -> None:  # noqa: ARG002 - an observer's
        """Record a connection's new state, and what its translation has learned so far."""
        at = connection.kept
        if at:
            snapshot.write_state(self._buffer, at, connection.state)
            if connection.translation is not None and connection.active:
                self.learned(connection)

    def learned(self, connection: Connection) -> None:
        """Record what a connection's translation has learned."""
        at = connection.kept
        if at and connection.translation is not None:
            snapshot.write_memory(self._buffer, at, connection.translation.memory())

    def ended(self, connection: Connection) -> None:
        """Remove the record of a connection."""
        at = connection.kept
        if at:
            connection.kept = 0
            self._give_back(at)

    def forgot(self, template: Template) -> None:
        """Remove the record of a template."""
        at = template.kept
        if at:
            template.kept = 0
            self._give_back(at)

    def _keep_template(self, template: Template, server: int) -> None:
        at = self._slots.take()
        if at:
            kept = KeptTemplate(template.key, server, template.assured)
            snapshot.write_template(self._buffer, at, kept)
            template.kept = at

    def _keep_server(self, server: RealServer) -> int:
        """Make a real server's record; return its offset, 0 if there is no room."""
        at = self._slots.take()
        if at:
            config = server.config
            key = server.service.key
            snapshot.write_server(self._buffer, at, key, config.address, config.port)
            self.servers[server] = at
        return at

    def _keep_service(self, service: Service) -> int:
        before = self._of_key.get(service.key)
        at = self.services.pop(before, 0) if before is not None else 0
        at = at or self._slots.take()
        if at:
            snapshot.write_service(self._buffer, at, service.key)
            self.note_service(service, at)
        return at

    def note_service(self, service: Service, at: int) -> None:
        """Note the offset of a service's record; an older service of this key no longer has one."""
        self.services[service] = at
        self._of_key[service.key] = service

    def _give_back(self, at: int) -> None:
        snapshot.clear(self._buffer, at)
        self._slots.give_back(at)

    # --- now and then -----------------------------------------------------------------------------

    def keeping(self) -> Iterator[None]:
        """Record, step by step, the counters, positions and sequence numbers that have changed.

        Records of what is gone are removed.
        """
        looked_at = 0
        for service in tuple(self._all_services):
            self._keep_counters(service)
            for server in tuple(service.servers):
                self._keep_server_counters(server)
                if server.drain is not None or server.ramp is not None:
                    self._keep_transition(server)
                looked_at += 1
                if not looked_at % TOGETHER:
                    yield
            looked_at += 1
            if not looked_at % TOGETHER:
                yield
        for pair, last in self._flows.numbers.last():
            self._keep_numbers(pair, last)
            yield
        yield from self._forgetting()

    def catching_up(self) -> Iterator[None]:
        """Record, step by step, what found no room when it came."""
        for number, entry in enumerate(self._flows.table.walk()):
            if not entry.kept:
                self._catch_up(entry)
            if not number % TOGETHER:
                yield

    def _catch_up(self, entry: Connection | Template) -> None:
        if isinstance(entry, Connection):
            self.opened(entry)
            self.learned(entry)
        elif not entry.retired:
            number = self.servers.get(entry.server) or self._keep_server(entry.server)
            if number:
                self._keep_template(entry, number)

    def keep_transitions(self, changes: Iterable[Change]) -> None:
        """Record at once which servers these changes drain or start slowly, or no longer do.

        Records of servers that go are freed later.
        """
        for change in changes:
            if not isinstance(change, DrainChange | HealthChange | ServerChange):
                continue
            if self._all_services.has(change.service):
                service = self._all_services.get(change.service)
                place = change.address, change.port
                if service.has(*place):
                    self._keep_transition(service.find(*place))

    def _keep_transition(self, server: RealServer) -> None:
        """Record whether a server is drained, or starts slowly."""
        drain, ramp = server.drain, server.ramp
        if drain is not None:
            self._keep_drain(server, drain)
        elif server in self.drains:
            self._give_back(self.drains.pop(server)[0])
        if ramp is not None and ramp.since is not None:
            self._keep_ramp(server, ramp.since)
        elif server in self.ramps:
            self._give_back(self.ramps.pop(server)[0])

    def keeping_memories(self) -> Iterator[None]:
        """Record what translations have learned since, and which templates are assured."""
        for looked_at, entry in enumerate(self._flows.table.walk()):
            if isinstance(entry, Connection):
                if entry.translation is not None:
                    self.learned(entry)
            elif entry.kept and entry.assured:
                snapshot.assure_template(self._buffer, entry.kept)
            if not looked_at % TOGETHER:
                yield

    def _keep_counters(self, service: Service) -> None:
        meter = service.meter
        at = self.services.get(service, 0)
        if not at and any(meter.raw):
            at = self._keep_service(service)
        if at and self._write_counters(at, meter):
            snapshot.write_position(self._buffer, at, position(service))

    def _keep_server_counters(self, server: RealServer) -> None:
        meter = server.meter
        at = self.servers.get(server, 0)
        if not at and any(meter.raw):
            at = self._keep_server(server)
        if at:
            self._write_counters(at, meter)

    def _keep_drain(self, server: RealServer, drain: Draining) -> None:
        number = self.servers.get(server) or self._keep_server(server)
        if not number or drain.since is None:
            return
        kept = KeptDrain(number, drain.deadline_s, drain.since, drain.ended)
        at, before = self.drains.get(server, (0, None))
        if kept != before and (at := at or self._slots.take()):
            write_drain(self._buffer, at, kept)
            self.drains[server] = at, kept

    def _keep_ramp(self, server: RealServer, since: float) -> None:
        number = self.servers.get(server) or self._keep_server(server)
        if not number:
            return
        kept = KeptRamp(number, since)
        at, before = self.ramps.get(server, (0, None))
        if kept != before and (at := at or self._slots.take()):
            write_ramp(self._buffer, at, kept)
            self.ramps[server] = at, kept

    def _write_counters(self, at: int, meter: Meter) -> bool:
        """Record counters in a slot; return False if it already has these."""
        counted, zero = meter.raw, meter.zero_totals
        if self._written.get(at) == (counted, zero):
            return False
        snapshot.write_counted(self._buffer, at, counted, zero)
        self._written[at] = counted, zero
        return True

    def _keep_numbers(self, pair: bytes, last: int) -> None:
        at = self.numbers.get(pair) or self._slots.take()
        if at:
            self.numbers[pair] = at
            snapshot.write_numbers(self._buffer, at, KeptNumbers(pair, last))

    def _forgetting(self) -> Iterator[None]:
        """Free the records of everything that is gone."""
        yield from self._forgetting_transitions()
        for service, at in tuple(self.services.items()):
            if not (
                self._all_services.has(service.key)
                and self._all_services.get(service.key) is service
            ):
                del self.services[service]
                if self._of_key.get(service.key) is service:
                    del self._of_key[service.key]
                self._written.pop(at, None)
                self._give_back(at)
            yield
        for server, at in tuple(self.servers.items()):
            if not (server.available or server.total or server.templates):
                del self.servers[server]
                self._written.pop(at, None)
                self._give_back(at)
            yield

    def _forgetting_transitions(self) -> Iterator[None]:
        """Free the records of drains and slow starts that are over, and of stale numbers."""
        for pair, at in tuple(self.numbers.items()):
            if not self._flows.numbers.has(pair):
                del self.numbers[pair]
                self._give_back(at)
            yield
        for server, (at, _) in tuple(self.drains.items()):
            if server.drain is None or not server.available:
                del self.drains[server]
                self._give_back(at)
            yield
        for server, (at, _) in tuple(self.ramps.items()):
            if server.ramp is None or not server.available:
                del self.ramps[server]
                self._give_back(at)
            yield


def position(service: Service) -> Position | None:
    """Return the position of a service's scheduler, None if it has none."""
    try:
        numbers = service.scheduler.position()
    except Exception as error:  # noqa: BLE001 - a plug-in's; the others are written down
        service.fault = error
        return None
    if not numbers or not all(0 <= each < 1 << 32 for each in numbers):
        return None
    return Position(digest(service), tuple(numbers))


def digest(service: Service) -> int:
    """Return a checksum over a service's real servers, their order and their weights."""
    words = (
        b"%b %d %d" % (each.address.hex().encode(), each.port, each.weight)
        for each in service.servers
    )
    return crc32(b"\n".join((service.config.scheduler.encode(), *words)))
