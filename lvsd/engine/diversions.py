"""Tell the supervisor what has to be diverted: what is new in it, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.engine.messages import Divert, Settled, portions
from lvsd.io.diverting import diverting
from lvsd.io.ruleset import Diverted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from lvsd.core.service_table import ServiceTable
    from lvsd.io.diverting import Elements

TOGETHER: Final = 500
"""Elements in one message: it is made in one go."""


class Diversions:
    """Remembers what it has told. ``tell`` sends a message."""

    def __init__(self, services: ServiceTable, tell: Callable[[object], None]) -> None:
        self._services = services
        self._tell = tell
        self._told: dict[str, set[Any]] = {field: set() for field in Diverted.__slots__}
        self._addresses: set[bytes] = set()
        """Real servers' that were there when all was told, packed, and of those told since."""
        self._addresses_since: set[bytes] = set()
        self._since: dict[str, set[Any]] = {}
        """What was told besides since a look at everything began, which may have come too late."""

    def telling(self, number: int) -> Iterator[None]:
        """Find out what is to be diverted now, and tell in which it differs from before.

        ``number`` is that of the last list of commands that was done when this began.
        """
        since = self._since = {field: set() for field in self._told}
        more_addresses = self._addresses_since = set[bytes]()
        found = yield from diverting(self._services)
        yield
        sets = found.sets
        for field, before in self._told.items():
            after = sets[field]
            yield
            gone = before - after
            yield
            new = after - before
            yield
            for some in portions(gone, TOGETHER):
                less = frozenset(some) - since[field]  # what came back meanwhile stays
                before.difference_update(less)  # and is told again where it comes back from now on
                self._tell(Divert(field, frozenset(), less))
                yield
            for more in portions(new, TOGETHER):
                self._tell(Divert(field, frozenset(more), frozenset()))
                yield
        for field, came in since.items():
            sets[field] |= came
        self._told, self._addresses = sets, found.addresses | more_addresses
        left = frozenset(each.address for each in self._services.removed())
        self._tell(Settled(number, left))

    def telling_also(self, number: int, new: Elements) -> Generator[None, None, bool]:
        """Tell, step by step, what has to be diverted besides; return whether that was all."""
        if not new.addresses.isdisjoint(self._told["not_forwarded"]):
            return False
        new.addresses |= self._addresses & new.vips
        self._addresses |= new.addresses
        self._addresses_since |= new.addresses
        for field, elements in new.sets.items():
            told = self._told[field]
            for more in portions(elements - told, TOGETHER):
                self._tell(Divert(field, frozenset(more), frozenset()))
            told |= elements
            if field in self._since:
                self._since[field] |= elements
            yield
        self._tell(Settled(number))
        return True


class Gathered:
    """The supervisor's side: puts together what an engine tells."""

    def __init__(self) -> None:
        self._fields: dict[str, set[Any]] = {field: set() for field in Diverted.__slots__}
        self._more: dict[str, set[Any]] | None = {}
        """What came since it was last asked for; None: something went, too."""

    def take(self, told: Divert) -> None:
        """Take in a part."""
        field = self._fields[told.field]
        field -= told.less
        field |= told.more
        if told.less:
            self._more = None
        elif self._more is not None:
            self._more.setdefault(told.field, set()).update(told.more)

    def news(self) -> Diverted | None:
        """Return what came since this was asked last; None where something went, too."""
        more, self._more = self._more, {}
        return None if more is None else _frozen(more)

    @property
    def diverted(self) -> Diverted:
        """All of it."""
        return _frozen(self._fields)


def _frozen(fields: dict[str, set[Any]]) -> Diverted:
    return Diverted(**{name: frozenset(found) for name, found in fields.items()})
