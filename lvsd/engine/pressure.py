"""What an operator has to be told while packets or connections are lost because there is no room.

A counter that grows is a spell: the log has a line when it begins, one a minute while it lasts,
with numbers, and one when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.balancer import Balancer

SAY_EVERY_S: Final = 60.0
"""How often a spell that lasts is told of; and after so long without anything new it is over."""

SERVICES_NAMED: Final = 3
"""So many services are named: those that lost most."""

FULL: Final = "the connection table is full: connections that are still opening give way"
FULL_REMEDY: Final = "a larger max_connections in [daemon], or one for the flooded [[service]]"
OWN_BOUND: Final = "a service has its max_connections: those that are still opening give way"
OWN_BOUND_REMEDY: Final = "a larger max_connections in the [[service]], unless it is a flood"

log = structlog.get_logger("lvsd")


class Spell:
    """Notices that a counter grows; ``since`` is when it began to, None while it does not."""

    __slots__ = ("_grew_at", "_said", "_said_at", "_start", "since", "total")

    def __init__(self) -> None:
        self.total = 0
        self.since: float | None = None
        self._start = 0
        self._said = 0
        self._said_at = 0.0
        self._grew_at = 0.0

    def look(self, total: int, now: float) -> tuple[int, bool] | None:
        """Take in the counter's present value; return what to tell of it, None most of the time.

        That is by how much it grew since it was last told of, or in all, and whether it is over.
        """
        grew = total > self.total
        if grew:
            self._grew_at = now
        if self.since is None:
            if grew:
                self.since = now
                self._start = self.total
                return self._say(total, self.total, now)
            self.total = total
            return None
        self.total = total
        if now - self._grew_at >= SAY_EVERY_S:
            self.since = None
            return total - self._start, True
        if now - self._said_at >= SAY_EVERY_S and total > self._said:
            return self._say(total, self._said, now)
        return None

    def _say(self, total: int, before: int, now: float) -> tuple[int, bool]:
        self.total = self._said = total
        self._said_at = now
        return total - before, False


class Pressure:
    """Watches a director's table and its queue; ``queue_lost`` tells how many packets that lost."""

    def __init__(self, balancer: Balancer, queue_lost: Callable[[], int]) -> None:
        self._balancer = balancer
        self._queue_lost = queue_lost
        self._table = Spell()
        self._queue = Spell()
        self._told: dict[str, tuple[int, int]] = {}

    def counters(self) -> dict[str, int]:
        """Return what ``lvsadm --status`` has of the table."""
        admission = self._balancer.flows.admission
        return {**admission.counters(), "short_of_room": int(self._table.since is not None)}

    def tick(self, now: float) -> None:
        """Log what there is to say by ``now``; to be called about once a second."""
        admission = self._balancer.flows.admission
        table = self._table.look(admission.evicted + admission.refused, now)
        if table is not None:
            self._tell_of_table(*table)
        queue = self._queue.look(self._queue_lost(), now)
        if queue is not None:
            lost, is_over = queue
            if is_over:
                log.info("the queue loses no more packets", lost=lost)
            else:
                remedy = "queue_length in [daemon] for bursts; see `lvsd doctor`"
                log.warning(
                    "packets were lost: they come faster than lvsd takes them",
                    lost=lost,
                    remedy=remedy,
                )

    def _tell_of_table(self, count: int, is_over: bool) -> None:  # noqa: FBT001 - as `look` has it
        """Log how many connections gave way or were refused, and of which services."""
        lost = self._lost_since_told()
        if is_over:
            log.info("there is room for new connections again", lost=count)
            return
        most = sorted(lost, key=lambda each: each[1] + each[2], reverse=True)[:SERVICES_NAMED]
        admission = self._balancer.flows.admission
        own = admission.all_at_their_own_bound(name for name, _, _ in lost)
        log.warning(
            OWN_BOUND if own else FULL,
            **admission.room(),
            evicted=sum(evicted for _, evicted, _ in lost),
            refused=sum(refused for _, _, refused in lost),
            services=", ".join(
                f"{name} ({evicted} evicted, {refused} refused)" for name, evicted, refused in most
            ),
            remedy=OWN_BOUND_REMEDY if own else FULL_REMEDY,
        )

    def _lost_since_told(self) -> list[tuple[str, int, int]]:
        """Return what each service lost since this was last asked: its name, evicted, refused."""
        lost: list[tuple[str, int, int]] = []
        told: dict[str, tuple[int, int]] = {}
        for service in self._balancer.services:
            name = service.label
            share = service.share
            evicted, refused = self._told.get(name, (0, 0))
            told[name] = share.evicted, share.refused
            if told[name] != (evicted, refused):
                lost.append((name, share.evicted - evicted, share.refused - refused))
        self._told = told
        return lost
