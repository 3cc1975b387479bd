"""Commands that take a real server off duty, or back: drain and health. It may come back slowly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.core.commands import Drain, DrainChange, HealthChange, SetHealth, Undrain
from lvsd.core.draining import Draining
from lvsd.core.slow_start import Ramp
from lvsd.core.succession import tell
from lvsd.core.values import Health

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.commands import Change
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.succession import Succession

OfDuty: TypeAlias = Drain | Undrain | SetHealth

_WELL: Final = frozenset({Health.UP, Health.STANDBY})
"""A server that was one of these has been well: up again, it need not begin slowly."""


class Duties:
    """Does them for `lvsd.core.apply.Steps`, which has the lists of changes, and of undos.

    ``new`` are the services that the list has added. ``begun`` are the servers whose drain or slow
    start begins with its end.
    """

    def __init__(
        self,
        services: ServiceTable,
        schedulers: Succession,
        undo: list[Callable[[], object]],
        changes: list[Change],
    ) -> None:
        self._services = services
        self._schedulers = schedulers
        self._undo = undo
        self._changes = changes
        self.new: set[Service] = set()
        self.begun: dict[RealServer, None] = {}

    def do(self, command: OfDuty) -> None:
        """Do a command. Raise ControlError or PluginError."""
        service = self._services.get(command.service)
        server = service.find(command.address, command.port)
        if isinstance(command, SetHealth):
            self._set_health(service, server, command.health)
        else:
            self._drain(service, server, command)

    def _drain(self, service: Service, server: RealServer, command: Drain | Undrain) -> None:
        """Drain a server from now on, or no longer."""
        drain = None
        if isinstance(command, Drain):
            drain = Draining(command.deadline_s, command.since)
        if drain is server.drain:  # None, both
            return
        self._note(service, server)
        server.drain, server.ramp = drain, None
        server.reweigh()
        self.begin_slowly(service, server)
        self.begun[server] = None
        tell(service, server, "notice the change of", service.scheduler.edit)
        deadline_s = None if drain is None else drain.deadline_s
        place = server.config.place
        self._changes.append(DrainChange(service.key, *place, drain is not None, deadline_s))

    def _set_health(self, service: Service, server: RealServer, health: Health) -> None:
        before = server.health
        if health is before:
            return
        self._note(service, server)
        server.set_health(health)
        server.ramp = None
        server.reweigh()
        if before not in _WELL:
            self.begin_slowly(service, server)
        tell(service, server, "notice the change of", service.scheduler.edit)
        self._changes.append(HealthChange(service.key, *server.config.place, before, health))

    def _note(self, service: Service, server: RealServer) -> None:
        """Note how a server is, and how its service's scheduler is, to go back to."""
        self._schedulers.fork(service, is_new=service in self.new)
        self._undo.append(partial(server.resettle, server.settled))

    def begin_slowly(self, service: Service, server: RealServer) -> None:
        """Give a server that comes back a part of its weight, if others can bear the rest.

        A new service has nobody who comes back.
        """
        if (
            service.easing.is_wanted
            and service not in self.new
            and server.config.weight
            and not server.leaving
            and any(other.weight for other in service.servers if other is not server)
        ):
            server.ramp = Ramp()
            server.reweigh()
            self.begun[server] = None
