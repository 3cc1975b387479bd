"""One service of the wanted state: its real servers, who of them is drained, and who is not up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lvsd.core.commands import (
    AddServer,
    AddService,
    Drain,
    DrainChange,
    HealthChange,
    SetHealth,
    Undrain,
)
from lvsd.core.values import Health
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from lvsd.core.commands import Change, Command
    from lvsd.core.values import ServerConfig, ServiceConfig

    Undo: TypeAlias = list[Callable[[], object]]
    Place: TypeAlias = tuple[bytes, int]


class WantedService(NamedTuple):
    """A service, and its real servers by packed address and port, oldest first.

    ``drained`` has the command that drained each drained server, ``unwell`` the one that last said
    of a server that it is not up. What is changed here notes in an ``undo`` how to take it back.
    """

    config: ServiceConfig
    servers: dict[Place, ServerConfig]
    drained: dict[Place, Drain]
    unwell: dict[Place, SetHealth]

    def commands(self) -> Iterator[Command]:
        """Yield the commands that give this to a balancer without such a service."""
        key = self.config.key
        yield AddService(self.config)
        for server in self.servers.values():
            yield AddServer(key, server)
        for off_duty in (self.drained, self.unwell):
            if off_duty:
                yield from (off_duty[each] for each in self.servers if each in off_duty)

    def find(self, place: Place) -> ServerConfig:
        """Return the real server at an endpoint. Raise ControlError if there is none."""
        config = self.servers.get(place)
        if config is None:
            raise ControlError("No such destination")
        return config

    def do(self, command: Drain | Undrain | SetHealth, undo: Undo) -> Change | None:
        """Have a real server off duty, or back. Raise ControlError."""
        key, place = command.service, (command.address, command.port)
        self.find(place)
        match command:
            case Drain(deadline_s=deadline_s):
                _put(self.drained, place, command, undo)
                return DrainChange(key, *place, is_drained=True, deadline_s=deadline_s)
            case Undrain():
                if place not in self.drained:
                    return None
                _put(self.drained, place, None, undo)
                return DrainChange(key, *place, is_drained=False, deadline_s=None)
            case SetHealth(health=health):
                before = self.health(place)
                if health is before:
                    return None
                _put(self.unwell, place, None if health is Health.UP else command, undo)
                return HealthChange(key, *place, before, health)

    def health(self, place: Place) -> Health:
        """Return what health checks make of a real server."""
        command = self.unwell.get(place)
        return Health.UP if command is None else command.health

    def forget(self, place: Place, undo: Undo) -> None:
        """Have a real server that goes neither drained nor unwell: it may come back as new."""
        for off_duty in (self.drained, self.unwell):
            _put(off_duty, place, None, undo)


def _put(entries: dict[Place, Any], place: Place, entry: object, undo: Undo) -> None:
    """Have an entry at a place, or none (None)."""
    before = entries.get(place)
    if before is entry:
        return
    _set(entries, place, entry)
    undo.append(lambda: _set(entries, place, before))


def _set(entries: dict[Place, Any], place: Place, entry: object) -> None:
    if entry is None:
        del entries[place]
    else:
        entries[place] = entry
