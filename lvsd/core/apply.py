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
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.core.admission import Admission
from lvsd.core.commands import (
    AddServer,
    AddService,
    Changes,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    ServerChange,
    ServiceChange,
    SetTimeouts,
    TimeoutsChange,
    Zero,
    Zeroed,
)
from lvsd.core.service import RealServer, Service
from lvsd.errors import ControlError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.core.commands import Change, Command
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.timeouts import Timeouts
    from lvsd.core.values import ServerConfig
    from schedulers.base import Scheduler

_LET_GO_TOGETHER: Final = 256

SchedulerFactory: TypeAlias = "Callable[[str, frozenset[str]], Scheduler]"
"""Makes a scheduler, for one service, of its name and its flags. Raises PluginError."""


class Steps:
    """One list of commands on its way: what it has changed so far, and how to take it back.

    Packets may be handled between one command and the next, and meet what is there so far.
    """

    def __init__(
        self,
        services: ServiceTable,
        timeouts: Timeouts,
        admission: Admission,
        make_scheduler: SchedulerFactory,
    ) -> None:
        self._services = services
        self._timeouts = timeouts
        self._admission = admission
        self._make_scheduler = make_scheduler
        self._undo: list[Callable[[], object]] = []
        self._new: set[Service] = set()
        self._forked: set[int] = set()
        self._changes: list[Change] = []
        self._news: list[tuple[Callable[[Admission, Service], None], Service]] = []
        """The services that came, went or have another bound, in that order."""

    def do(self, command: Command) -> None:
        """Do one command. Raise ControlError or PluginError; all is as it was before then."""
        try:
            self._do(command)
        except BaseException:
            for step in reversed(self._undo):
                step()
            raise

    def finish(self, now: float) -> Changes:
        """End the list, and tell what changed."""
        for follows, service in self._news:
            follows(self._admission, service)
        return Changes(now, tuple(self._changes))

    def dismantling(self) -> Iterator[None]:
        """Let go of how to take it back, step by step, as ten thousand notes take their time."""
        for notes in (self._undo, self._changes):
            while notes:
                del notes[-_LET_GO_TOGETHER:]
                yield

    def _do(self, command: Command) -> None:
        match command:
            case AddServer():
                self._add_server(command)
            case AddService():
                self._add_service(command)
            case EditServer():
                self._edit_server(command)
            case EditService():
                self._edit_service(command)
            case RemoveServer():
                service = self._services.get(command.service)
                self._remove_server(service, service.find(command.address, command.port))
            case RemoveService():
                self._remove_service(command)
            case SetTimeouts():
                self._set_timeouts(command)
            case Zero():
                self._zero(command)

    # --- services -----------------------------------------------------------------------------

    def _add_service(self, command: AddService) -> None:
        wanted = command.config
        if self._services.has(wanted.key):
            raise ControlError("Service already exists")
        service = Service(wanted, self._make_scheduler(wanted.scheduler, wanted.flags))
        self._services.put_in(service)
        self._undo.append(partial(self._services.withdraw, service))
        self._new.add(service)
        self._news.append((Admission.came, service))
        self._changes.append(ServiceChange(service.key, None, wanted))

    def _edit_service(self, command: EditService) -> None:
        wanted = command.config
        service = self._services.get(wanted.key)
        before, scheduler, persistent = service.config, service.scheduler, service.was_persistent
        if (before.scheduler, before.flags) != (wanted.scheduler, wanted.flags):
            service.scheduler = self._taken_over(service, wanted.scheduler, wanted.flags)

        def undo() -> None:
            service.config, service.scheduler = before, scheduler
            service.was_persistent = persistent
            service.retime()

        self._undo.append(undo)
        service.config = wanted
        service.was_persistent |= bool(wanted.persistence_s)
        if wanted.timing != before.timing:
            service.retime()
        if wanted.max_connections != before.max_connections:
            self._news.append((Admission.came, service))
        if wanted != before:
            self._changes.append(ServiceChange(service.key, before, wanted))

    def _taken_over(self, service: Service, name: str, flags: frozenset[str]) -> Scheduler:
        """Return another scheduler that starts from a service's present servers."""
        scheduler = self._make_scheduler(name, flags)
        try:
            scheduler.start(service.servers)
        except BaseException as error:
            raise PluginError(
                f"scheduler {name!r} failed to take over service {service.config.name!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        self._forked.add(id(scheduler))  # nothing goes back to it
        return scheduler

    def _remove_service(self, command: RemoveService) -> None:
        service = self._services.get(command.key)
        for server in tuple(service.servers):
            self._remove_server(service, server)
        self._services.take_out(service)
        self._undo.append(partial(self._services.put_back, service))
        self._news.append((Admission.went, service))
        self._changes.append(ServiceChange(service.key, service.config, None))

    # --- real servers -------------------------------------------------------------------------

    def _add_server(self, command: AddServer) -> None:
        service, wanted = self._services.get(command.service), command.config
        if service.has(*wanted.place):
            raise ControlError("Destination already exists")
        self._fork(service)
        removed = service.removed.get(wanted.place)
        if removed is not None:
            self._return(service, removed, wanted)
        server = removed or RealServer(wanted, service)
        self._tell(service, server, "take in", service.scheduler.add)
        service.enlist(server)
        if removed is not None or service not in self._new:
            self._undo.append(partial(service.delist, server))
        service.removed.pop(wanted.place, None)
        self._changes.append(ServerChange(service.key, *wanted.place, None, wanted))

    def _return(self, service: Service, server: RealServer, wanted: ServerConfig) -> None:
        """Let a removed server come back to its service, or to another one of its key."""
        settled, owner, zero_point = server.settled, server.service, server.meter.zero_point

        def undo() -> None:
            server.resettle(settled)
            server.service = owner
            server.meter.go_back_to(zero_point)
            server.retime()
            service.removed[wanted.place] = server

        self._undo.append(undo)
        server.settle(wanted)
        server.last_weight = wanted.weight
        server.service = service
        if owner is not service:
            server.meter.zero()
        server.retime()

    def _edit_server(self, command: EditServer) -> None:
        service, wanted = self._services.get(command.service), command.config
        server = service.find(*wanted.place)
        settled = server.settled
        self._fork(service)
        self._undo.append(partial(server.resettle, settled))
        server.settle(wanted)
        self._tell(service, server, "notice the change of", service.scheduler.edit)
        if wanted != settled.config:
            self._changes.append(ServerChange(service.key, *wanted.place, settled.config, wanted))

    def _remove_server(self, service: Service, server: RealServer) -> None:
        """Remove a server; it is gone even if the scheduler fails to let go of it.

        A pick of it is refused then.
        """
        fault, noticed = service.fault, server.noticed
        self._fork(service)
        index = service.delist(server)
        server.noticed = False
        if server.total or server.templates:
            service.removed[server.config.place] = server

        def undo() -> None:
            service.removed.pop(server.config.place, None)
            service.enlist(server, index)
            server.noticed = noticed
            service.fault = fault

        self._undo.append(undo)
        try:
            service.scheduler.remove(server)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the server is gone all the same
            service.fault = error
        self._changes.append(ServerChange(service.key, *server.config.place, server.config, None))

    # --- what schedulers know -----------------------------------------------------------------

    def _tell(
        self, service: Service, server: RealServer, what: str, call: Callable[[RealServer], None]
    ) -> None:
        """Tell a service's scheduler of a server. Raise PluginError if it fails."""
        try:
            call(server)
        except BaseException as error:
            raise PluginError(
                f"scheduler {service.scheduler.name!r} of service {service.config.name!r} failed "
                f"to {what} {server.config.label}: {type(error).__name__}: {error}"
            ) from error

    def _fork(self, service: Service) -> None:
        """Keep a scheduler as it is before it is told anything, to go back to.

        One that cannot be forked starts anew instead, and one that cannot do that stays.
        """
        scheduler = service.scheduler
        if service in self._new or id(scheduler) in self._forked:
            return
        try:
            kept = scheduler.fork()
        except BaseException:  # noqa: BLE001 - a plug-in's; it is no reason to refuse a change
            self._undo.append(partial(self._start_anew, service))
        else:
            self._forked.add(id(scheduler))

            def undo() -> None:
                service.scheduler = kept

            self._undo.append(undo)

    def _start_anew(self, service: Service) -> None:
        """Give a service a new scheduler of the same kind."""
        config = service.config
        try:
            service.scheduler = self._taken_over(service, config.scheduler, config.flags)
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the rest is still to be undone
            service.fault = error

    # --- for all ------------------------------------------------------------------------------

    def _set_timeouts(self, command: SetTimeouts) -> None:
        timeouts = self._timeouts
        lists, before = timeouts.lists, timeouts.get()

        def undo() -> None:
            timeouts.go_back_to(lists)
            self._retime()

        self._undo.append(undo)
        timeouts.set_seconds(command.tcp_s, command.tcp_fin_s, command.udp_s)
        self._retime()
        if timeouts.get() != before:
            self._changes.append(TimeoutsChange(before, timeouts.get()))

    def _retime(self) -> None:
        present = (server for service in self._services for server in service.servers)
        for server in (*present, *self._services.removed()):
            server.retime()

    def _zero(self, command: Zero) -> None:
        key = command.service
        for service in list(self._services) if key is None else [self._services.get(key)]:
            for meter in (service.meter, *(server.meter for server in service.servers)):
                self._undo.append(partial(meter.go_back_to, meter.zero_point))
                meter.zero()
        self._changes.append(Zeroed(key))
