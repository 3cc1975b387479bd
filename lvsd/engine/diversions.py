"""Tell the supervisor what has to be diverted: what is new in it, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.engine.messages import Divert, Settled, portions
from lvsd.io.diverting import diverting
from lvsd.io.ruleset import Diverted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from lvsd.core.service_table import ServiceTable

TOGETHER: Final = 500
"""Elements in one message: it is made in one go."""


class Diversions:
    """Remembers what it has told. ``tell`` sends a message."""

    def __init__(self, services: ServiceTable, tell: Callable[[object], None]) -> None:
        self._services = services
        self._tell = tell
        self._told = Diverted()

    def telling(self, number: int) -> Iterator[None]:
        """Find out what is to be diverted now, and tell in which it differs from before.

        ``number`` is that of the last list of commands that was done when this began.
        """
        found = yield from diverting(self._services)
        for field in Diverted.__slots__:
            before, after = getattr(self._told, field), getattr(found, field)
            if before is after:
                continue
            for less in portions(before - after, TOGETHER):
                self._tell(Divert(field, frozenset(), frozenset(less)))
                yield
            yield
            for more in portions(after - before, TOGETHER):
                self._tell(Divert(field, frozenset(more), frozenset()))
                yield
            yield
        self._told = found
        self._tell(Settled(number, frozenset(each.address for each in self._services.removed())))


class Gathered:
    """The supervisor's side: puts together what an engine tells."""

    def __init__(self) -> None:
        self._fields: dict[str, set[Any]] = {field: set() for field in Diverted.__slots__}

    def take(self, told: Divert) -> None:
        """Take in a part."""
        field = self._fields[told.field]
        field -= told.less
        field |= told.more

    @property
    def diverted(self) -> Diverted:
        """All of it."""
        return Diverted(**{name: frozenset(found) for name, found in self._fields.items()})
