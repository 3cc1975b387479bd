"""Takes in what a director before this one wrote down (`lvsd.core.keeper`).

To be done once services and real servers are there, with the ways to them, and before the first
packet, but for the greater part of connections: those are `pending` for a while. Whatever the
records say, nothing here raises: what cannot be is dropped, and counted by its reason. The records
of what goes on stay where they are, and the `Keeper` goes on with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core import persistence, snapshot
from lvsd.core.commands import Drain
from lvsd.core.intake import Intake
from lvsd.core.keeper import digest
from lvsd.core.kept_drains import read_drain
from lvsd.core.kept_ramps import read_ramp
from lvsd.core.snapshot import Kind
from lvsd.core.template import Template
from lvsd.errors import ControlError, PluginError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from lvsd.core.balancer import Balancer
    from lvsd.core.keeper import Keeper, Slots
    from lvsd.core.service import RealServer, Service
    from lvsd.core.snapshot import Position


class Resumption:
    """Takes the records of ``slots`` into a balancer, for ``keeper`` to go on with.

    ``connections`` and ``templates`` count what goes on, ``dropped`` the connections that do not,
    by their reason.
    """

    def __init__(self, balancer: Balancer, keeper: Keeper, slots: Slots) -> None:
        self._balancer = balancer
        self._flows = balancer.flows
        self._keeper = keeper
        self._slots = slots
        self._buffer = slots.buffer
        self._servers: dict[int, RealServer] = {}
        self._positions: list[tuple[Service, Position]] = []
        self._intake = Intake(balancer.flows, self._servers, slots)
        self.templates = 0
        self.drains: list[Drain] = []
        """The drains that go on and were not wanted here before."""

    @property
    def connections(self) -> int:
        """How many connections go on."""
        return self._intake.connections

    @property
    def dropped(self) -> Counter[str]:
        """How many do not, by their reason."""
        return self._intake.dropped

    def steps(self, records: dict[int, list[int]], now: float) -> Iterator[None]:
        """Take in everything, step by step. ``records`` says by kind where the slots are."""
        for kind, take in (
            (Kind.SERVICE, self._service),
            (Kind.SERVER, self._server),
            (Kind.NUMBERS, self._numbers),
            (Kind.DRAIN, lambda at: self._drain(at, now)),
            (Kind.RAMP, lambda at: self._ramp(at, now)),
        ):
            for at in records.pop(kind, ()):
                self._unless(at, take(at))
                yield
        for at in records.pop(Kind.TEMPLATE, ()):
            self._unless(at, self._template(at, now))
            yield
        yield from self._intake.steps(records.pop(Kind.CONNECTION, []), now)
        for others in records.values():  # what is no kind of record
            for at in others:
                self._unless(at, taken=False)
                yield
        for service, position in self._positions:
            self._resume(service, position)
            yield

    def rest(self) -> Iterator[None]:
        """Take in the connections that are still pending, step by step, among packets."""
        pending = self._flows.table.pending
        for _ in pending.taking_in() if pending is not None else ():
            yield

    def _unless(self, at: int, taken: bool) -> None:  # noqa: FBT001 - what the caller has found
        """Clear a slot unless what it says was taken in."""
        if not taken:
            snapshot.clear(self._buffer, at)
            self._slots.give_back(at)

    def _service(self, at: int) -> bool:
        kept = snapshot.read_service(self._buffer, at)
        if kept is None or not self._balancer.services.has(kept.key):
            return False
        service = self._balancer.services.get(kept.key)
        if service in self._keeper.services:
            return False
        self._keeper.note_service(service, at)
        if kept.counted is not None:
            service.meter.go_on(kept.counted, kept.zero)
        if kept.position is not None:
            self._positions.append((service, kept.position))
        return True

    def _server(self, at: int) -> bool:
        kept = snapshot.read_server(self._buffer, at)
        if kept is None:
            return False
        try:
            server = self._balancer.services.get(kept.service).find(kept.address, kept.port)
        except ControlError:
            return False
        if server in self._keeper.servers:
            return False
        self._keeper.servers[server] = at
        self._servers[at] = server
        if kept.counted is not None:
            server.meter.go_on(kept.counted, kept.zero)
        return True

    def _drain(self, at: int, now: float) -> bool:
        """Drain a server as before, unless somebody has wanted that since."""
        kept = read_drain(self._buffer, at)
        server = self._servers.get(kept.server) if kept is not None else None
        if kept is None or server is None or server in self._keeper.drains:
            return False
        if server.drain is None:
            command = Drain(server.service.key, *server.config.place, kept.deadline_s, kept.since)
            try:
                self._balancer.apply([command], now)
            except (ControlError, PluginError) as error:
                server.service.fault = error
                return False
            self.drains.append(command)
        if server.drain is not None and server.drain.since == kept.since:
            server.drain.ended = kept.ended
        self._keeper.drains[server] = at, kept
        return True

    def _ramp(self, at: int, now: float) -> bool:
        """Let a server begin slowly on, unless it has no such beginning any more."""
        kept = read_ramp(self._buffer, at)
        server = self._servers.get(kept.server) if kept is not None else None
        if kept is None or server is None or server in self._keeper.ramps:
            return False
        if server.ramp is None and server.config.weight and not server.leaving:
            self._balancer.transitions.ramps.go_on(server, kept.since, now)
        if server.ramp is None or server.ramp.since != kept.since:
            return False
        self._keeper.ramps[server] = at, kept
        return True

    def _numbers(self, at: int) -> bool:
        kept = snapshot.read_numbers(self._buffer, at)
        if kept is None or kept.pair in self._keeper.numbers:
            return False
        self._keeper.numbers[kept.pair] = at
        self._flows.numbers.go_on(kept.pair, kept.last)
        return True

    def _template(self, at: int, now: float) -> bool:
        kept = snapshot.read_template(self._buffer, at)
        server = self._servers.get(kept.server) if kept is not None else None
        if kept is None or server is None or not server.service.config.persistence_s:
            return False
        template = Template(kept.key, server, float(server.service.config.persistence_s))
        template.assured = kept.assured
        if not persistence.adopt(template, self._flows.table, self._balancer.settings, now):
            return False
        template.kept = at
        self.templates += 1
        return True

    @staticmethod
    def _resume(service: Service, position: Position) -> None:
        """Let a scheduler go on where the one before stood, if it has the same servers."""
        if position.digest != digest(service):
            return
        try:
            service.scheduler.resume(position.numbers)
        except Exception as error:  # noqa: BLE001 - a plug-in's; it begins at its beginning
            service.fault = error
