"""The one door for changes: commands go in, all of them are done or none is.

A command that is refused, by lvsd (`ControlError`) or by a plug-in (`PluginError`), takes back
those before it in the list. Each has noted how, exactly: no count, no place in a list and no
overload flag comes out of doing the opposite. A scheduler's own state is its own; so before one is
told of the first change it is forked (`schedulers.base.Scheduler.fork`), and the fork goes on if
the list is refused.

What others have worked out of the services, the parts of the table above all, follows once the
whole list is done. It costs what the list has, not what there is: ten thousand services make
nothing dearer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from lvsd.core.commands import (
    AddServer,
    AddService,
    Changes,
    Clear,
    Drain,
    EditServer,
    EditService,
    KeepPorts,
    RemoveServer,
    RemoveService,
    ServerChange,
    ServiceChange,
    SetHealth,
    Undrain,
    Zero,
)
from lvsd.core.duties import Duties
from lvsd.core.service import RealServer, Service
from lvsd.core.slow_start import Easing
from lvsd.core.succession import Succession, tell
from lvsd.core.values import Health
from lvsd.core.whole import Whole
from lvsd.errors import ControlError
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from lvsd.core.admission import Admission
    from lvsd.core.commands import Change, Command
    from lvsd.core.connection import Connection
    from lvsd.core.connection_table import ConnectionTable
    from lvsd.core.local_ports import LocalPorts
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings
    from lvsd.core.succession import SchedulerFactory
    from lvsd.core.timeouts import Timeouts
    from lvsd.core.transitions import Transitions
    from lvsd.core.values import ServerConfig

_LET_GO_TOGETHER: Final = 128


class Steps:
    """One list of commands on its way: what it has changed so far, and how to take it back.

    Packets may be handled between one step and the next, and meet what is there so far.
    """

    def __init__(
        self,
        services: ServiceTable,
        table: ConnectionTable,
        timeouts: Timeouts,
        admission: Admission,
        transitions: Transitions,
        settings: Settings,
        local_ports: LocalPorts,
        make_scheduler: SchedulerFactory,
    ) -> None:
        self._services = services
        self._table = table
        self._admission = admission
        self._transitions = transitions
        self._undo: list[Callable[[], object]] = []
        self._schedulers = Succession(make_scheduler, self._undo)
        self._changes: list[Change] = []
        self._duties = Duties(services, self._schedulers, self._undo, self._changes)
        self._new = self._duties.new
        """The services that the list has added."""
        self._whole = Whole(services, timeouts, settings, local_ports, self._undo, self._changes)
        self._came: dict[Service, None] = {}
        """The services that came, or have another bound."""
        self._went: dict[Service, None] = {}
        self._gone: list[RealServer] = []

    def doing(self, command: Command) -> Generator[None, None, None]:
        """Do one command, step by step: one that concerns ten thousand servers takes its time.

        What is pending of the connections that it concerns is taken in first. Raise ControlError
        or PluginError; all is as it was before then.
        """
        for _ in self._taking_in(command):
            yield
        self._transitions.is_held = True
        try:
            yield from self._doing(command) or ()
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._schedulers.taking_back()
            self._transitions.is_held = False
            raise

    def finishing(self, now: float) -> Generator[None, None, Changes]:
        """End the list, step by step; return what changed."""
        yield from self._schedulers.settling()
        yield from self._admission.following(self._came, self._went)
        for service in self._duties.new:
            service.is_in_doubt = False
        for server in self._duties.begun:
            if server.available:
                self._transitions.begin(server, now)
                yield
        self._transitions.is_held = False
        return Changes(now, tuple(self._changes))

    def dismantling(self) -> Generator[None, None, None]:
        """Let go, step by step, of how to take it back, and of what was removed."""
        for notes in (self._undo, self._changes):
            while notes:
                del notes[-_LET_GO_TOGETHER:]
                yield
        while self._gone:
            server = self._gone.pop()
            server.service.released(server)
            yield
        for service in self._went:
            yield from service.dissolving()

    def _taking_in(self, command: Command) -> Iterator[Connection | None]:
        """Take in what is pending of the connections that a command concerns."""
        pending = self._table.pending
        if pending is None:
            return iter(())
        match command:
            case AddService() | AddServer() | KeepPorts() | Zero():
                return iter(())
            case EditService(config):
                key = config.key
            case RemoveService(key) | EditServer(key) | RemoveServer(key):
                pass
            case Drain(key) | Undrain(key) | SetHealth(key):
                pass
            case _:
                return pending.taking_in()
        return pending.taking_in(self._services.get(key)) if self._services.has(key) else iter(())

    def _doing(self, command: Command) -> Iterator[None] | None:
        """Do a command, at once or in the steps that are returned."""
        match command:
            case AddServer():
                self._add_server(command)
            case AddService():
                self._add_service(command)
            case EditServer():
                self._edit_server(command)
            case RemoveServer():
                self._remove_server(command)
            case Drain() | Undrain() | SetHealth():
                self._duties.do(command)
            case EditService():
                return self._editing_service(command)
            case RemoveService():
                return self._removing_service(command)
            case Clear():
                return self._clearing()
            case _:
                return self._whole.doing(command)
        return None

    # --- services -----------------------------------------------------------------------------

    def _add_service(self, command: AddService) -> None:
        wanted = command.config
        if self._services.has(wanted.key):
            raise ControlError("Service already exists")
        service = Service(wanted, self._schedulers.make(wanted.scheduler, wanted.flags))
        service.is_in_doubt = True
        self._services.put_in(service)
        self._undo.append(partial(self._services.withdraw, service))
        self._new.add(service)
        self._came[service] = None
        self._changes.append(ServiceChange(service.key, None, wanted))

    def _editing_service(self, command: EditService) -> Iterator[None]:
        wanted = command.config
        service = self._services.get(wanted.key)
        before, scheduler, persistent = service.config, service.scheduler, service.was_persistent
        easing = Easing(scheduler.slow_start, wanted.slow_start_s)
        another = (before.scheduler, before.flags) != (wanted.scheduler, wanted.flags)
        if another or easing.scale != service.easing.scale:
            fresh = self._schedulers.make(wanted.scheduler, wanted.flags)
            yield from self._easing(service, Easing(fresh.slow_start, wanted.slow_start_s))
            service.scheduler = yield from self._schedulers.taking_over(service, fresh)
        else:
            yield from self._easing(service, easing)

        def undo() -> None:
            service.config, service.scheduler = before, scheduler
            service.was_persistent = persistent
            exhaust(service.retiming())

        self._undo.append(undo)
        service.config = wanted
        service.was_persistent |= bool(wanted.persistence_s)
        if wanted.timing != before.timing:
            yield from service.retiming()
        if wanted.max_connections != before.max_connections:
            self._came[service] = None
        if wanted != before:
            self._changes.append(ServiceChange(service.key, before, wanted))

    def _easing(self, service: Service, easing: Easing) -> Iterator[None]:
        """Let servers begin in another way from now on, with weights of another scale."""
        before = service.easing
        self._undo.append(partial(setattr, service, "easing", before))
        service.easing = easing
        if easing.scale == before.scale:
            return
        self._schedulers.fork(service, is_new=service in self._new)
        for server in service.servers:
            self._undo.append(partial(server.resettle, server.settled))
            server.last_weight = -(-server.last_weight * easing.scale // before.scale)
            server.reweigh()
            yield

    def _removing_service(self, command: RemoveService) -> Iterator[None]:
        """Remove a service, and then its servers one by one: no scheduler need hear of it."""
        service = self._services.get(command.key)
        self._services.take_out(service)
        self._undo.append(partial(self._services.put_back, service))
        self._went[service] = None
        self._came.pop(service, None)
        for server in tuple(service.servers):
            service.dismiss(server)
            self._keep(service, server)
            self._undo.append(partial(self._return_to, service, server))
            self._note_removal(service, server)
            yield
        self._changes.append(ServiceChange(service.key, service.config, None))

    def _clearing(self) -> Iterator[None]:
        for service in tuple(self._services):
            yield from self._removing_service(RemoveService(service.key))

    @staticmethod
    def _return_to(service: Service, server: RealServer) -> None:
        service.removed.pop(server.config.place, None)
        service.reinstate(server)

    # --- real servers -------------------------------------------------------------------------

    def _add_server(self, command: AddServer) -> None:
        service, wanted = self._services.get(command.service), command.config
        address, port = place = wanted.place
        if service.has(address, port):
            raise ControlError("Destination already exists")
        is_new = service in self._new
        self._schedulers.fork(service, is_new=is_new)
        removed = service.removed.get(place)
        if removed is not None:
            self._return(service, removed, wanted)
        server = removed or RealServer(wanted, service)
        self._duties.begin_slowly(service, server)
        tell(service, server, "take in", service.scheduler.add)
        service.enlist(server)
        if removed is not None or not is_new:
            self._undo.append(partial(service.delist, server))
        service.removed.pop(place, None)
        self._changes.append(ServerChange(service.key, address, port, None, wanted))

    def _return(self, service: Service, server: RealServer, wanted: ServerConfig) -> None:
        """Let a removed server come back to its service, or to another one of its key."""
        settled, owner, zero_point = server.settled, server.service, server.meter.zero_point

        def undo() -> None:
            server.service = owner
            server.resettle(settled)
            server.meter.go_back_to(zero_point)
            server.retime()
            service.removed[wanted.place] = server

        self._undo.append(undo)
        server.service = service
        server.drain = server.ramp = None
        server.set_health(Health.UP)
        server.settle(wanted)
        server.last_weight = server.weight
        if owner is not service:
            server.meter.zero()
        server.retime()

    def _edit_server(self, command: EditServer) -> None:
        service, wanted = self._services.get(command.service), command.config
        server = service.find(*wanted.place)
        settled = server.settled
        self._schedulers.fork(service, is_new=service in self._new)
        self._undo.append(partial(server.resettle, settled))
        server.settle(wanted)
        if not wanted.weight:
            server.ramp = None
        elif not settled.config.weight:
            self._duties.begin_slowly(service, server)
        tell(service, server, "notice the change of", service.scheduler.edit)
        if wanted != settled.config:
            self._changes.append(ServerChange(service.key, *wanted.place, settled.config, wanted))

    def _remove_server(self, command: RemoveServer) -> None:
        """Remove a server; it is gone even if the scheduler fails to let go of it.

        A pick of it is refused then.
        """
        service = self._services.get(command.service)
        server = service.find(command.address, command.port)
        fault = service.fault
        self._schedulers.fork(service, is_new=service in self._new)
        service.delist(server)
        self._keep(service, server)

        def undo() -> None:
            service.removed.pop(server.config.place, None)
            service.relist(server)
            service.fault = fault

        self._undo.append(undo)
        try:
            service.scheduler.remove(server)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the server is gone all the same
            service.fault = error
        self._note_removal(service, server)

    def _keep(self, service: Service, server: RealServer) -> None:
        """Keep a server that is removed for as long as it has connections."""
        if server.total or server.templates:
            service.removed[server.config.place] = server
            self._services.has_removed = True

    def _note_removal(self, service: Service, server: RealServer) -> None:
        self._gone.append(server)
        self._changes.append(ServerChange(service.key, *server.config.place, server.config, None))
