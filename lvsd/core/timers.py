"""A timer wheel: any number of entries, O(1) to set, move and expire.

Every entry lies in the bucket of one whole second. Putting an expiry off, what every packet
does, only writes ``entry.expires``: when the bucket's second comes, an entry whose time has
moved on goes to a later bucket. Only an expiry that comes *nearer* has to move at once. So an
entry never ends early; when it ends late, it is by the rest of its second, and by what a caller
that asks for a few entries at a time leaves for the next call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


NEVER: Final = 1 << 62
"""A second that does not come."""


class Timed(Protocol):
    """What the wheel holds: ``expires`` in seconds, ``due`` the second of its bucket."""

    expires: float
    due: int


Entry = TypeVar("Entry", bound=Timed)


class Wheel(Generic[Entry]):
    """Buckets of entries, one per second that has any."""

    __slots__ = ("_buckets", "_first", "_second")

    def __init__(self, now: float) -> None:
        self._second = int(now)
        self._buckets: dict[int, set[Entry]] = {}
        self._first = NEVER
        """No bucket is due before this second."""

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def add(self, entry: Entry) -> None:
        """Take in an entry whose ``expires`` is set."""
        due = entry.due = max(int(entry.expires), self._second) + 1
        bucket = self._buckets.get(due)
        if bucket is None:
            self._buckets[due] = {entry}
            self._first = min(self._first, due)
        else:
            bucket.add(entry)

    def remove(self, entry: Entry) -> None:
        """Forget an entry, if the wheel has it."""
        bucket = self._buckets.get(entry.due)
        if bucket is not None:
            bucket.discard(entry)
            if not bucket:
                del self._buckets[entry.due]

    def take_first(self) -> Entry | None:
        """Take out one of the entries whose bucket is due first; None when there is none.

        Where all have the same timeout, that is the one which was put in first, to the second.
        """
        buckets = self._buckets
        if not buckets:
            return None
        if self._first not in buckets:
            self._first = min(buckets)
        bucket = buckets[self._first]
        entry = bucket.pop()
        if not bucket:
            del buckets[self._first]
        return entry

    def is_due(self, now: float) -> bool:
        """Tell whether `expired` may find something by ``now``; it costs less to ask."""
        return self._first <= now

    def hasten(self, entry: Entry) -> None:
        """Move an entry whose ``expires`` may have come nearer; cheap if it has not."""
        if entry.expires < entry.due - 1:
            self.remove(entry)
            self.add(entry)

    def expired(self, now: float, limit: int) -> tuple[list[Entry], bool]:
        """Take out entries that have expired by ``now``; return them, and whether to ask again.

        At most ``limit`` entries are looked at, those included whose time has moved on.
        """
        ended: list[Entry] = []
        second = int(now)
        for key in self._due(second):
            bucket = self._buckets.get(key, set())
            while bucket:
                if not limit:
                    return ended, True
                limit -= 1
                entry = bucket.pop()
                if entry.expires <= now:
                    ended.append(entry)
                else:
                    self.add(entry)
            self._buckets.pop(key, None)
            self._second = key
        self._second = max(second, self._second)
        self._first = min(self._buckets, default=NEVER)
        return ended, False

    def walk(self) -> Iterator[Entry]:
        """Yield the entries, those first that are due first; they may come and go meanwhile.

        What is there all the time is yielded, unless its expiry comes nearer.
        """
        due = -1
        while later := [key for key in self._buckets if key > due]:
            due = min(later)
            for entry in tuple(self._buckets[due]):
                if entry in self._buckets.get(entry.due, ()):
                    yield entry

    def _due(self, second: int) -> Iterable[int]:
        """Return, in order, the buckets up to this second; after an idle hour, only those kept."""
        if second - self._second > len(self._buckets):
            return sorted(key for key in self._buckets if key <= second)
        return range(self._second + 1, second + 1)
