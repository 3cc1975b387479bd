"""Who gets an entry in the connection table, and who gives one up when it is full.

Anybody can fill a table with packets that cost nothing: SYNs, or datagrams, from addresses that
do not exist. So that one service's flood does not shut the others out,

- **half of the table is shared, the other half is reserved**: each of N services can always have
  ``max_connections / 2N`` entries, which no other service takes. A service alone can have all.
  Of `ROOM` services or more N counts up to an eighth more, so that a change does not walk all;
- **what is still opening makes room first**: the oldest connection that has not got beyond its
  opening (TCP and SCTP before ESTABLISHED, UDP of one packet) of the service that has most. Only
  a larger service gives way to another one; what is established stays;
- a service may have a bound of its own (``max_connections`` of a ``[[service]]``), within which
  it makes room for itself in the same way.

A handshake takes a round trip; under a flood the oldest of the opening connections are seconds
old. So those that are ended are the flood's own.

Cost: an established connection has nothing more than before, in bytes and per packet. An opening
one lies in its service's own timer wheel instead of the table's, so that finding the oldest takes
O(1). The largest service is looked for anew every `KEPT_FOR` times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core.verdict import Reason
from schedulers.base import exhaust

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from lvsd.core.connection import Connection
    from lvsd.core.connection_table import ConnectionTable
    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings
    from lvsd.core.shares import Share
    from lvsd.core.template import Template

NEXT: Final = 2
"""The most entries that a new connection needs: itself, and a template."""

ROOM: Final = 16
"""Of so many services, there may come or go one more before the table is divided anew, which
walks all of them."""

UNDIVIDED: Final = -1
"""No bound that a table can have."""

KEPT_FOR: Final = 64
"""So many entries are asked of the largest service before it is looked for anew."""


class Admission:
    """Decides whether a service gets another entry, and makes room for it.

    ``end`` and ``forget`` end a connection and a template. ``evicted`` and ``refused`` count as in
    `lvsd.core.shares.Share`, for all services together.
    """

    def __init__(
        self,
        table: ConnectionTable,
        services: ServiceTable,
        settings: Settings,
        end: Callable[[Connection], None],
        forget: Callable[[Template], None],
    ) -> None:
        self._table = table
        self._shares = table.shares
        self._services = services
        self._settings = settings
        self._end = end
        self._forget = forget
        self._bound = UNDIVIDED
        self._parts = self._each = 0
        self._largest: Share | None = None
        self._asked = 0
        self.evicted = 0
        self.refused = 0

    def admit(self, service: Service, wanted: int) -> Reason | None:
        """Make room for so many new entries of a service; return None, or why there is none."""
        share = service.share
        bound = self._settings.max_connections
        own_bound = service.config.max_connections
        if bound != self._bound:
            exhaust(self.dividing())
        while own_bound and share.entries + wanted > own_bound:
            if not self._evict(share):
                return self._refuse(share, Reason.SERVICE_FULL)
        table, reserved = self._table, self._shares.unused
        if table.count + len(table.templates) + len(table.retired) + wanted + reserved <= bound:
            return None  # mostly; what comes next says the same, three calls later (bench/core.py)
        while len(table) + wanted + self._shares.unused - share.unused > bound:
            if not self._evict(self._giving_way_to(share)):
                return self._refuse(share, Reason.TABLE_FULL)
        return None

    def has_room(self, wanted: Mapping[Share, int], bounds: Mapping[Share, int]) -> bool:
        """Whether so many entries of each share find room without any that gives way.

        ``bounds`` are their services' own, 0: none.
        """
        if self._settings.max_connections != self._bound:
            exhaust(self.dividing())
        entries, unused = len(self._table) + sum(wanted.values()), self._shares.unused
        left: dict[Share, int] = {}
        for share, number in wanted.items():
            left[share] = max(0, share.reserved - share.entries - number)
            unused += left[share] - share.unused
        return all(
            entries + unused - left[share] <= self._bound
            and (not bounds[share] or share.entries + number <= bounds[share])
            for share, number in wanted.items()
        )

    def room(self) -> dict[str, int]:
        """Return how many entries there are, how many more are reserved, how many may be."""
        bound = self._settings.max_connections
        if bound != self._bound:
            exhaust(self.dividing())
        return {
            "entries": len(self._table),
            "reserved": self._shares.unused,
            "max_connections": bound,
        }

    def counters(self) -> dict[str, int]:
        """Return that, and how many connections were ended or refused."""
        return {**self.room(), "evicted": self.evicted, "refused": self.refused}

    def all_at_their_own_bound(self, labels: Iterable[str]) -> bool:
        """Whether all of these services, if any, have as many entries as their own bound allows."""
        named = set(labels)
        chosen = [service for service in self._services if service.label in named]
        return bool(chosen) and all(
            (bound := service.config.max_connections) and service.share.entries + NEXT > bound
            for service in chosen
        )

    def lost(self) -> dict[str, int]:
        """Return how many connections were ended or refused, of each service that lost any."""
        lost: dict[str, int] = {}
        for service in self._services:
            share = service.share
            if count := share.evicted + share.refused:
                lost[service.label] = count
        return lost

    # --- what is kept for whom ----------------------------------------------------------------

    def came(self, service: Service) -> None:
        """Keep a part for a service that is there from now on, or whose own bound is another."""
        own = service.config.max_connections
        self._shares.reserve(service.share, min(self._each, own or self._each))

    def went(self, service: Service) -> None:
        """Keep nothing for a service that was removed; what it has stays its own."""
        self._shares.reserve(service.share, 0)

    def following(self, came: Iterable[Service], went: Iterable[Service]) -> Iterator[None]:
        """Take note of services that came or went, step by step; divide anew if that is due.

        So it is where the table has another bound.
        """
        self._largest = None
        parts = self._parts
        is_due = not parts - parts // ROOM <= len(self._services) <= parts
        is_due |= self._bound not in {self._settings.max_connections, UNDIVIDED}
        for service in went:
            self.went(service)
            yield
        for service in () if is_due else came:
            self.came(service)
            yield
        if is_due:
            self._bound = UNDIVIDED
            yield from self.dividing()

    def dividing(self) -> Generator[None, None, None]:
        """Divide half of the table among the services that there are now, and room for some.

        Step by step: packets may be handled meanwhile.
        """
        bound, number = self._settings.max_connections, len(self._services)
        self._largest = None
        self._bound, self._parts = bound, number + number // ROOM
        self._each = bound // (2 * self._parts) if number else 0
        for service in tuple(self._services):
            self.came(service)
            yield

    def _giving_way_to(self, share: Share) -> Share:
        """Return the share that an entry is taken of: the largest one, or the one that asks.

        Only what is beyond its reserved part, and larger than the one that asks, gives way to it.
        """
        self._asked += 1
        largest = self._largest
        if self._asked >= KEPT_FOR or not (largest and self._can_give(largest)):
            self._asked = 0
            pending = self._table.pending
            others = pending.opening_shares() if pending is not None else ()
            givers = filter(self._can_give, dict.fromkeys((*self._shares.opening, *others)))
            largest = self._largest = max(givers, key=_entries, default=None)
        return largest if largest is not None and largest.entries > share.entries else share

    def _can_give(self, share: Share) -> bool:
        if share.entries <= share.reserved:
            return False
        pending = self._table.pending
        return bool(share.opening) or (pending is not None and pending.has_opening(share))

    def _evict(self, share: Share) -> bool:
        """End the oldest opening connection of a share; return whether there was one.

        A template that it leaves behind goes with it, if no connection of it was ever established.
        """
        pending = self._table.pending
        connection = pending.opening(share) if pending is not None else None
        connection = connection or share.opening.take_first()
        if connection is None:
            return False
        self._end(connection)
        template = connection.template
        if template is not None and not (template.controlled or template.assured):
            self._forget(template)
        share.evicted += 1
        self.evicted += 1
        return True

    def _refuse(self, share: Share, reason: Reason) -> Reason:
        share.refused += 1
        self.refused += 1
        return reason


def _entries(share: Share) -> int:
    return share.entries
