"""All servers in slow start; raises their weights with time."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from lvsd.core.slow_start import LEAST, Ramp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.service import RealServer, Service

EASED_AT_ONCE: Final = 250
"""How many servers one `Ramps.tick` reweighs, a microsecond or two each."""


class Ramps:
    """The servers in slow start, and their services."""

    def __init__(self) -> None:
        self._ramping: dict[RealServer, Service] = {}
        self._in_services: Counter[Service] = Counter()
        self._waiting: Iterator[RealServer] | None = None

    def __len__(self) -> int:
        return len(self._ramping)

    def begin(self, server: RealServer, now: float) -> None:
        """Start the clock of a server's ramp, if it has one that is not running."""
        ramp = server.ramp
        if ramp is None or ramp.since is not None:
            return
        ramp.since = now
        self._forget(server)
        service = self._ramping[server] = server.service
        self._in_services[service] += 1
        service.has_ramps = True

    def go_on(self, server: RealServer, since: float, now: float) -> None:
        """Let a server go on that began slowly with a director before this one, at ``since``."""
        server.ramp = Ramp()
        self.begin(server, since)
        if self._is_over(server, server.service, now):
            self._forget(server)

    def tick(self, now: float) -> bool:
        """Reweigh servers, a limited number at a time; return whether there are more."""
        if not self._ramping:
            return False
        waiting = self._waiting or iter(tuple(self._ramping))
        some = list(islice(waiting, EASED_AT_ONCE))
        self._waiting = waiting if len(some) == EASED_AT_ONCE else None
        for server in some:
            service = self._ramping.get(server)
            if service is not None and self._is_over(server, service, now):
                self._forget(server)
        return self._waiting is not None

    @staticmethod
    def _is_over(server: RealServer, service: Service, now: float) -> bool:
        """Give a server its weight of this moment; return whether that is the whole weight."""
        ramp = server.ramp
        if (
            ramp is None
            or ramp.since is None
            or not server.available
            or server.service is not service
        ):
            return True
        easing = service.easing
        part = (now - ramp.since) / easing.over_s if easing.is_wanted else 1.0
        if part >= 1.0:
            server.ramp = None
        else:
            ramp.part = max(LEAST, part)
        before = server.weight
        server.reweigh()
        if server.weight != before:
            service.reweighed(server)
        return server.ramp is None

    def _forget(self, server: RealServer) -> None:
        service = self._ramping.pop(server, None)
        if service is None:
            return
        self._in_services[service] -= 1
        if not self._in_services[service]:
            del self._in_services[service]
            service.has_ramps = False
