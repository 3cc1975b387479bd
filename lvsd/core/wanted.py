"""The wanted state: services, real servers and timeouts, after all changes so far.

The supervisor keeps it to tell the next engine, to compare it with a configuration, and to save it.
Only commands that succeeded are applied to it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lvsd.core.commands import (
    AddServer,
    AddService,
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
    SetSettings,
    SetTimeouts,
    SettingsChange,
    TimeoutsChange,
    Undrain,
    Zero,
    Zeroed,
)
from lvsd.core.fitting import check_server, check_service
from lvsd.core.settings import Settings
from lvsd.core.wanted_service import WantedService
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, KeysView

    from lvsd.core.commands import Change, Command, Single
    from lvsd.core.local_pool import Range
    from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey


class Wanted:
    """Applies commands to the wanted state; refuses in the kernel's words, as `apply` does."""

    def __init__(self, timeouts: tuple[int, int, int], settings: Settings | None = None) -> None:
        self.timeouts = timeouts
        """In seconds: TCP, TCP after a FIN, UDP."""
        self.settings = settings or Settings()
        self.kept_ports: tuple[Range, ...] = ()
        """Local ports that belong to the host."""
        self.services: dict[ServiceKey, WantedService] = {}
        self._reached: dict[str, dict[bytes, int]] = {}
        """How many servers have each packed address, by the name of the mode."""
        self._undo: list[Callable[[], object]] = []
        self._in_order: set[ServiceKey | None] = set()
        """Services whose servers' order is noted for an undo; None stands for the services' own."""

    # --- what there is ------------------------------------------------------------------------

    def commands(self) -> Iterator[Command]:
        """Yield the commands that give an empty balancer this state."""
        yield SetTimeouts(*self.timeouts)
        for service in self.services.values():
            yield from service.commands()

    def reached(self, mode: str) -> KeysView[bytes]:
        """Return the packed addresses of the real servers of a mode, given by its name."""
        return self._reached.get(mode, {}).keys()

    def has(self, address: bytes) -> bool:
        """Whether a real server has this packed address."""
        return any(address in addresses for addresses in self._reached.values())

    def addresses(self) -> dict[bytes, None]:
        """Return the packed address of each real server, once."""
        found: dict[bytes, None] = {}
        for addresses in self._reached.values():
            found.update(dict.fromkeys(addresses))
        return found

    def count(self) -> tuple[int, int]:
        """Return how many services and real servers there are."""
        return len(self.services), sum(len(each.servers) for each in self.services.values())

    # --- changes ------------------------------------------------------------------------------

    def would_change(self, commands: Iterable[Command]) -> list[Change]:
        """Return what a list of commands would change, and change nothing.

        Raise ControlError for the first that is impossible, with its number in ``at``.
        """
        try:
            return self._do(commands)
        finally:
            self._take_back()

    def do(self, commands: Iterable[Command]) -> list[Change]:
        """Apply a list of commands; return the changes. Raise ControlError: nothing has changed."""
        try:
            changes = self._do(commands)
        except BaseException:
            self._take_back()
            raise
        self._undo.clear()
        self._in_order.clear()
        return changes

    def beginning(self, commands: Iterable[Command]) -> Iterator[Command]:
        """Apply the commands of a checked configuration to an empty state, much faster than `do`.

        Nothing is refused, and no changes are returned. Yield each command once it is applied.
        """
        self.services.clear()
        for command in commands:
            match command:
                case AddServer(key, server):
                    self.services[key].servers[server.place] = server
                    self._reach(server, 1)
                case AddService(config):
                    self.services[config.key] = WantedService(config, {}, {}, {})
                case _:
                    self.do([command])
            yield command

    def _take_back(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._in_order.clear()

    def _keep_order(self, of: ServiceKey | None, entries: dict[Any, Any]) -> None:
        """Note the order of entries before the first removal, so that an undo restores it."""
        if of in self._in_order:
            return
        self._in_order.add(of)
        order = list(entries)

        def undo() -> None:
            for each in order:
                entries[each] = entries.pop(each)

        self._undo.append(undo)

    def _do(self, commands: Iterable[Command]) -> list[Change]:
        changes: list[Change] = []
        for number, command in enumerate(commands):
            try:
                done = map(self._do_one, self._singly(command))
                changes += [each for each in done if each is not None]
            except ControlError as error:
                error.at = number
                raise
        return changes

    def _singly(self, command: Command) -> Iterable[Single]:
        """Return the single commands that a command stands for at this point of the list."""
        return map(RemoveService, tuple(self.services)) if isinstance(command, Clear) else [command]

    def _do_one(self, command: Single) -> Change | None:
        match command:
            case AddService(config):
                return self._add_service(config)
            case EditService(config):
                return self._edit_service(config)
            case RemoveService(key):
                return self._remove_service(key)
            case SetTimeouts() | SetSettings() | KeepPorts() | Zero():
                return self._do_of_all(command)
            case _:
                return self._do_of_server(command)

    def _do_of_server(
        self, command: AddServer | EditServer | RemoveServer | Drain | Undrain | SetHealth
    ) -> Change | None:
        match command:
            case AddServer(key, server):
                return self._set_server(key, server, is_new=True)
            case EditServer(key, server):
                return self._set_server(key, server, is_new=False)
            case RemoveServer(key, address, port):
                return self._remove_server(key, (address, port))
            case Drain() | Undrain() | SetHealth():
                return self._service(command.service).do(command, self._undo)

    def _do_of_all(self, command: SetTimeouts | SetSettings | KeepPorts | Zero) -> Change | None:
        match command:
            case SetTimeouts(tcp_s, tcp_fin_s, udp_s):
                return self._set_timeouts((tcp_s, tcp_fin_s, udp_s))
            case SetSettings(settings):
                return self._set_settings(settings)
            case KeepPorts(kept):
                self._undo.append(partial(setattr, self, "kept_ports", self.kept_ports))
                self.kept_ports = kept
                return None
            case Zero(key):
                if key is not None:
                    self._service(key)
                return Zeroed(key)

    def _service(self, key: ServiceKey) -> WantedService:
        found = self.services.get(key)
        if found is None:
            raise ControlError("No such service")
        return found

    def _add_service(self, config: ServiceConfig) -> Change:
        key = config.key
        if key in self.services:
            raise ControlError("Service already exists")
        check_service(config)
        self.services[key] = WantedService(config, {}, {}, {})
        self._undo.append(lambda: self.services.pop(key))
        return ServiceChange(key, None, config)

    def _edit_service(self, config: ServiceConfig) -> Change | None:
        before = self._service(config.key)
        if before.config != config:
            check_service(config)
            for server in before.servers.values():
                check_server(config, server)
        self.services[config.key] = before._replace(config=config)
        self._undo.append(lambda: self.services.update({config.key: before}))
        if before.config == config:
            return None
        return ServiceChange(config.key, before.config, config)

    def _remove_service(self, key: ServiceKey) -> Change:
        service = self._service(key)
        self._keep_order(None, self.services)
        del self.services[key]
        for server in service.servers.values():
            self._reach(server, -1)

        def undo() -> None:
            self.services[key] = service
            for server in service.servers.values():
                self._reach(server, 1)

        self._undo.append(undo)
        return ServiceChange(key, service.config, None)

    def _set_server(self, key: ServiceKey, config: ServerConfig, *, is_new: bool) -> Change | None:
        service, place = self._service(key), config.place
        servers = service.servers
        before = servers.get(place)
        if is_new and before is not None:
            raise ControlError("Destination already exists")
        if not is_new and before is None:
            raise ControlError("No such destination")
        check_server(service.config, config)
        servers[place] = config
        if before is not None:
            self._reach(before, -1)
        self._reach(config, 1)

        def undo() -> None:
            self._reach(config, -1)
            if before is None:
                del servers[place]
            else:
                servers[place] = before
                self._reach(before, 1)

        self._undo.append(undo)
        return None if before == config else ServerChange(key, *place, before, config)

    def _remove_server(self, key: ServiceKey, place: tuple[bytes, int]) -> Change:
        service = self._service(key)
        servers, config = service.servers, service.find(place)
        service.forget(place, self._undo)
        self._keep_order(key, servers)
        del servers[place]
        self._reach(config, -1)

        def undo() -> None:
            servers[place] = config
            self._reach(config, 1)

        self._undo.append(undo)
        return ServerChange(key, *place, config, None)

    def _set_timeouts(self, seconds: tuple[int, int, int]) -> Change | None:
        before = self.timeouts
        tcp, tcp_fin, udp = (new or old for new, old in zip(seconds, before, strict=True))
        self.timeouts = tcp, tcp_fin, udp
        self._undo.append(lambda: setattr(self, "timeouts", before))
        return None if before == self.timeouts else TimeoutsChange(before, self.timeouts)

    def _set_settings(self, settings: Settings) -> Change | None:
        before, self.settings = self.settings, replace(settings)
        self._undo.append(partial(setattr, self, "settings", before))
        return None if before == self.settings else SettingsChange(before, self.settings)

    def _reach(self, server: ServerConfig, more: int) -> None:
        addresses = self._reached.setdefault(server.forwarder.name, {})
        users = addresses.get(server.address, 0) + more
        if users:
            addresses[server.address] = users
        else:
            del addresses[server.address]
