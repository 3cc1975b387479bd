"""What is done about once a second: expired entries end, schedulers tick, meters are sampled.

A tick that does all there is to do would keep packets waiting; each says whether there is more.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from lvsd.core.connection import Connection
from lvsd.core.flows import SENT_AT_ONCE
from lvsd.core.stats import ESTIMATOR_PERIOD_S
from lvsd.core.template import LINGER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.flows import Flows
    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings
    from lvsd.core.stats import Meter
    from lvsd.core.template import Template
    from lvsd.core.transitions import Transitions

_Waiting = TypeVar("_Waiting")

ENDED_AT_ONCE = 128
"""Entries that one `Upkeep.tick` looks at; more would keep packets waiting: to end one takes 3 us
and more (bench/memory.py)."""

ENDED_TOGETHER = 64
"""Entries that it looks at before it looks at what there is to send by now."""

TICKED_AT_ONCE = 1000
"""Services whose schedulers one `Upkeep.tick` lets tick, which most do in 0.2 us."""

ROUND_S = 0.5
"""How long after the schedulers began to tick they may do so again: less than a second, but longer
than it takes until a call that is made as there was more to do."""

SAMPLED_AT_ONCE = 250
"""Meters that one `Upkeep.tick` samples, for the same reason; a busy one takes 4 us."""


class Upkeep:
    """Ends what has expired, and what removed servers left, brings on and out servers, samples."""

    def __init__(
        self,
        flows: Flows,
        services: ServiceTable,
        settings: Settings,
        transitions: Transitions,
        now: float,
    ) -> None:
        self._flows = flows
        self._table = flows.table
        self._services = services
        self._settings = settings
        self._transitions = transitions
        self._next_sample = now + ESTIMATOR_PERIOD_S
        self._unsampled: Iterator[Meter] | None = None
        self._unticked: Iterator[Service] | None = None
        self._next_round = now
        self._search: Iterator[Connection | Template] | None = None

    def tick(self, now: float) -> bool:
        """Do what is due by ``now``, in seconds; return whether there is more."""
        pending = self._table.pending
        is_overdue = pending is not None and pending.overdue(now, ENDED_TOGETHER)
        more = True
        looked_at = 0
        enough = len(self._flows.departures) + SENT_AT_ONCE
        templates: list[Template] = []
        try:
            while more and looked_at < ENDED_AT_ONCE and len(self._flows.departures) < enough:
                entries, more = self._table.expired(now, ENDED_TOGETHER)
                looked_at += ENDED_TOGETHER
                self._end_expired(deque(entries), templates, now)
        finally:
            self._end_templates(templates, now)  # after connections: they outlive these
        self._notice_removed()
        self._search_on(ENDED_AT_ONCE - looked_at)
        more = self._transitions.tick(now) or more
        self._tick_schedulers(now)
        self._sample(now)
        more = self._flows.numbers.sweep(now) or more
        is_under_way = (self._search, self._unticked, self._unsampled) != (None, None, None)
        return more or is_under_way or is_overdue

    def _end_expired(
        self, entries: deque[Connection | Template], templates: list[Template], now: float
    ) -> None:
        """End the connections that the table's timers let go, and add the templates to a list.

        If something raises half way, the timers get the rest back.
        """
        try:
            while entries:
                entry = entries.popleft()
                if isinstance(entry, Connection):
                    self._flows.expire(entry, now)
                else:
                    templates.append(entry)
        finally:
            for entry in entries:
                self._table.rearm(entry)

    def _notice_removed(self) -> None:
        """Begin to end what removed servers left, if that is set and some were removed lately.

        What is left from before it was set ends together with the next one's.
        """
        if not self._settings.expire_nodest_conn:
            self._services.has_removed = False
        elif self._services.has_removed and self._search is None:
            self._services.has_removed = False
            self._search = self._table.walk()

    def _search_on(self, limit: int) -> None:
        """Look at so many more entries, and end those of removed servers.

        A template goes with its last connection (ip_vs_expire_nodest_conn_flush).
        """
        if self._search is None:
            return
        looked_at = 0
        for entry in islice(self._search, limit):
            looked_at += 1
            if isinstance(entry, Connection):
                if entry.path.server.available:
                    continue
                self._flows.end(entry)
                template = entry.template
            else:
                template = entry
            if template and not (template.server.available or template.controlled):
                self._flows.forget(template)
        if looked_at < limit:
            self._search = None

    def _sample(self, now: float) -> None:
        """Sample all meters when that is due, so many of them at a time."""
        if now >= self._next_sample:
            self._next_sample += ESTIMATOR_PERIOD_S
            if self._next_sample <= now:
                self._next_sample = now + ESTIMATOR_PERIOD_S
            self._unsampled = self._meters()
        if self._unsampled is not None:
            meters, self._unsampled = _some(self._unsampled, SAMPLED_AT_ONCE)
            for meter in meters:
                meter.sample(now)

    def _meters(self) -> Iterator[Meter]:
        for service in tuple(self._services):
            yield service.meter
            for server in tuple(service.servers):
                yield server.meter

    def _tick_schedulers(self, now: float) -> None:
        """Let the schedulers do their periodic work, so many of them at a time."""
        if self._unticked is None:
            if now < self._next_round:
                return
            self._next_round = now + ROUND_S
            self._unticked = iter(tuple(self._services))
        services, self._unticked = _some(self._unticked, TICKED_AT_ONCE)
        for service in services:
            service.tick(now)

    def _end_templates(self, templates: list[Template], now: float) -> None:
        """Forget templates that have expired, unless they still control connections.

        Those that are pending tell it when they are taken in.
        """
        unknown: set[Service] = set()
        if templates and self._table.pending is not None:
            services = {template.server.service for template in templates}
            unknown = self._table.pending.take_in_few(services, ENDED_TOGETHER)
        for template in templates:
            if template.server.service in unknown:
                self._table.rearm(template)
            elif template.controlled:
                template.timeout = LINGER_S
                steps = (now - template.expires) // LINGER_S + 1
                template.expires += steps * LINGER_S
                self._table.rearm(template)
            else:
                self._flows.forget(template)


def _some(
    waiting: Iterator[_Waiting], most: int
) -> tuple[list[_Waiting], Iterator[_Waiting] | None]:
    """Return the next ones, so many at the most, and what gives those after; None at the end."""
    some = list(islice(waiting, most))
    return some, waiting if len(some) == most else None
