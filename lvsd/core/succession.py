"""The schedulers of services in the course of a change, and which one goes on if it is refused.

A scheduler's state is its own. So before it is told of the first change of a list it is forked
(`schedulers.base.Scheduler.fork`), and the fork goes on if the list is refused. Another scheduler
takes a service over step by step, while the one before it picks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from lvsd.errors import PluginError
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from lvsd.core.service import RealServer, Service
    from schedulers.base import Scheduler

SchedulerFactory: TypeAlias = "Callable[[str, frozenset[str]], Scheduler]"
"""Makes a scheduler, for one service, of its name and its flags. Raises PluginError."""


class Succession:
    """Makes, forks and replaces schedulers; ``undo`` gets how to go back, newest last."""

    __slots__ = ("_heard", "_told", "_undo", "make")

    def __init__(self, make: SchedulerFactory, undo: list[Callable[[], object]]) -> None:
        self.make = make
        self._undo = undo
        self._told: dict[int, tuple[Scheduler, Service]] = {}
        """By their identity: those that changes are told, as nothing goes back to them."""
        self._heard: dict[Service, set[RealServer]] = {}
        """What schedulers that are to go back to have not heard: whose counts changed since."""

    def fork(self, service: Service, *, is_new: bool) -> None:
        """Keep a scheduler as it is before it is told anything, to go back to.

        One that cannot be forked starts anew instead, and one that cannot do that stays. A new
        service goes altogether.
        """
        scheduler = service.scheduler
        if id(scheduler) in self._told:
            return
        if not is_new:
            try:
                kept = scheduler.fork()
            except BaseException:  # noqa: BLE001 - a plug-in's; it is no reason to refuse a change
                self._undo.append(partial(self._start_anew, service))
                return
            self._undo.append(partial(setattr, service, "scheduler", kept))
            if service not in self._heard:
                self._heard[service] = set()
                service.listener = self._heard[service].add
        self._hold(scheduler, service)

    def taking_over(
        self, service: Service, scheduler: Scheduler
    ) -> Generator[None, None, Scheduler]:
        """Have another scheduler start from a service's present servers; return it at the end."""
        listener = service.listener

        def changed(server: RealServer) -> None:
            scheduler.changed(server)
            if listener is not None:
                listener(server)

        service.listener = changed
        try:
            scheduler.hold()
            yield from scheduler.starting(service.servers)
        except GeneratorExit:
            raise
        except BaseException as error:
            raise PluginError(
                f"scheduler {scheduler.name!r} failed to take over service "
                f"{service.config.name!r}: {type(error).__name__}: {error}"
            ) from error
        finally:
            service.listener = listener
        yield from _settling(scheduler, service)
        self._hold(scheduler, service)
        return scheduler

    def _hold(self, scheduler: Scheduler, service: Service) -> None:
        """Let a scheduler know that it is told of changes from now on."""
        self._told[id(scheduler)] = scheduler, service
        try:
            scheduler.hold()
        except BaseException as error:  # noqa: BLE001 - a plug-in's; it is told of changes anyway
            service.fault = error

    def settling(self) -> Iterator[None]:
        """Have all that were told of changes work out what picks need; nothing goes back now."""
        for scheduler, service in self._told.values():
            service.listener = None
            if service.scheduler is scheduler:
                yield from _settling(scheduler, service)

    def taking_back(self) -> Iterator[None]:
        """Undo all, step by step; let those that go on hear what they have not heard."""
        for service in self._heard:
            service.is_in_doubt = True
        while self._undo:
            self._undo.pop()()
            yield
        for service, servers in self._heard.items():
            service.listener = None
            service.is_in_doubt = False
            for server in servers:
                service.changed(server)
                yield

    def _start_anew(self, service: Service) -> None:
        """Give a service a new scheduler of the same kind."""
        config = service.config
        try:
            fresh = self.make(config.scheduler, config.flags)
            service.scheduler = exhaust(self.taking_over(service, fresh))
        except BaseException as error:  # noqa: BLE001 - a plug-in's; the rest is still to be undone
            service.fault = error


def _settling(scheduler: Scheduler, service: Service) -> Iterator[None]:
    try:
        yield from scheduler.settling()
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a plug-in's; a pick may do without
        service.fault = error


def tell(
    service: Service, server: RealServer, what: str, call: Callable[[RealServer], None]
) -> None:
    """Tell a service's scheduler of a server. Raise PluginError if it fails."""
    try:
        call(server)
    except BaseException as error:
        raise PluginError(
            f"scheduler {service.scheduler.name!r} of service {service.config.name!r} failed "
            f"to {what} {server.config.label}: {type(error).__name__}: {error}"
        ) from error
