"""Commands that are about no service alone: settings, timeouts, counters, the host's ports."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING

from lvsd.core.commands import (
    KeepPorts,
    SetSettings,
    SetTimeouts,
    SettingsChange,
    TimeoutsChange,
    Zero,
    Zeroed,
)
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import TypeAlias

    from lvsd.core.commands import Change
    from lvsd.core.local_ports import LocalPorts
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings
    from lvsd.core.timeouts import Timeouts

    OfAll: TypeAlias = SetSettings | KeepPorts | SetTimeouts | Zero


class Whole:
    """Does them for `lvsd.core.apply.Steps`, which has the lists of changes, and of undos."""

    def __init__(
        self,
        services: ServiceTable,
        timeouts: Timeouts,
        settings: Settings,
        local_ports: LocalPorts,
        undo: list[Callable[[], object]],
        changes: list[Change],
    ) -> None:
        self._services = services
        self._timeouts = timeouts
        self._settings = settings
        self._local_ports = local_ports
        self._undo = undo
        self._changes = changes

    def doing(self, command: OfAll) -> Iterator[None] | None:
        """Do a command, at once or in the steps that are returned. Raise ControlError."""
        match command:
            case SetSettings(settings):
                self._set(settings)
            case KeepPorts(kept):
                self._undo.append(partial(self._local_ports.keep, self._local_ports.kept))
                self._local_ports.keep(kept)
            case SetTimeouts():
                return self._setting_timeouts(command)
            case Zero():
                return self._zeroing(command)
        return None

    def _set(self, wanted: Settings) -> None:
        before = replace(self._settings)
        self._undo.append(partial(_copy, before, self._settings))
        _copy(wanted, self._settings)
        if wanted.expire_nodest_conn and not before.expire_nodest_conn:
            self._services.has_removed = True  # what was removed before ends now, too
        if wanted != before:
            self._changes.append(SettingsChange(before, replace(wanted)))

    def _setting_timeouts(self, command: SetTimeouts) -> Iterator[None]:
        timeouts = self._timeouts
        lists, before = timeouts.lists, timeouts.get()

        def undo() -> None:
            timeouts.go_back_to(lists)
            exhaust(self._retiming())

        self._undo.append(undo)
        timeouts.set_seconds(command.tcp_s, command.tcp_fin_s, command.udp_s)
        yield from self._retiming()
        if timeouts.get() != before:
            self._changes.append(TimeoutsChange(before, timeouts.get()))

    def _retiming(self) -> Generator[None, None, None]:
        for service in tuple(self._services):
            for server in tuple(service.servers):
                server.retime()
                yield
        for server in tuple(self._services.removed()):
            server.retime()
            yield

    def _zeroing(self, command: Zero) -> Iterator[None]:
        key = command.service
        for service in tuple(self._services) if key is None else [self._services.get(key)]:
            for meter in (service.meter, *[server.meter for server in service.servers]):
                self._undo.append(partial(meter.go_back_to, meter.zero_point))
                meter.zero()
                yield
        self._changes.append(Zeroed(key))


def _copy(settings: Settings, to: Settings) -> None:
    """Let settings that others hold have the values of these."""
    for field in fields(settings):
        setattr(to, field.name, getattr(settings, field.name))
