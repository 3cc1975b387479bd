"""The commands that lead from one wanted state to another.

What stays the same gets no command, so its connections, counters and scheduler are untouched. Who
is drained and what health checks make of servers is not compared: it is no part of a file. A
service is identified by its key, a real server by its service, address and port.

The order keeps every service served: new servers are added before old ones are removed, and
weights are raised before others become 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.commands import (
    AddServer,
    AddService,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    SetSettings,
    SetTimeouts,
)
from lvsd.core.fitting import check_server
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceConfig
    from lvsd.core.wanted import Wanted
    from lvsd.core.wanted_service import WantedService


def difference(now: Wanted, then: Wanted) -> list[Command]:
    """Return the fewest commands that turn ``now`` into ``then``; none if they are equal.

    The order of services and servers does not count. New ones are added behind the existing ones,
    in the order of ``then``.
    """
    return [
        *([SetSettings(then.settings)] if now.settings != then.settings else []),
        *_timeouts(now.timeouts, then.timeouts),
        *_coming(now, then),
        *(RemoveService(key) for key in now.services if key not in then.services),
    ]


def _timeouts(now: tuple[int, int, int], then: tuple[int, int, int]) -> Iterator[Command]:
    if now != then:
        changed = (new if new != old else 0 for old, new in zip(now, then, strict=True))
        yield SetTimeouts(*changed)


def _coming(now: Wanted, then: Wanted) -> Iterator[Command]:
    """Yield the commands for services of ``then``."""
    for key, wanted in then.services.items():
        there = now.services.get(key)
        if there is None:
            yield AddService(wanted.config)
            for server in wanted.servers.values():
                yield AddServer(key, server)
            continue
        edit = [EditService(wanted.config)] if there.config != wanted.config else []
        servers = _servers(there, wanted) if there.servers != wanted.servers else ()
        if edit and not _fits(wanted.config, there):
            yield from (*servers, *edit)  # first make its servers fit
        else:
            yield from (*edit, *servers)


def _fits(config: ServiceConfig, there: WantedService) -> bool:
    """Whether a service's new configuration fits the servers that it has."""
    try:
        for server in there.servers.values():
            check_server(config, server)
    except ControlError:
        return False
    return True


def _servers(now: WantedService, then: WantedService) -> Iterator[Command]:
    key = then.config.key
    edited = []
    for place, server in then.servers.items():
        there = now.servers.get(place)
        if there is None:
            yield AddServer(key, server)
        elif there != server:
            edited.append(EditServer(key, server))
    yield from sorted(edited, key=lambda each: not each.config.weight)
    for place in now.servers:
        if place not in then.servers:
            yield RemoveServer(key, *place)
