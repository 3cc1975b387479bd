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

    __slots__ = ("_buckets", "_first", "_second", "_unwalked")

    def __init__(self, now: float) -> None:
        self._second = int(now)
        self._buckets: dict[int, set[Entry]] = {}
        self._unwalked: dict[int, set[Entry]] = {}
        """Of buckets that `walk` is at, what it has still to yield, and the bucket has not."""
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
            if self._unwalked:
                self._unwalked.get(entry.due, bucket).discard(entry)
            if not bucket and entry.due not in self._unwalked:
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
        entry = (buckets[self._first] or self._unwalked[self._first]).pop()
        if not (buckets[self._first] or self._unwalked.get(self._first)):
            del buckets[self._first]
            self._unwalked.pop(self._first, None)
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
            for bucket in (self._buckets.get(key), self._unwalked.get(key)):
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
            self._unwalked.pop(key, None)
            self._second = key
        self._second = max(second, self._second)
        self._first = min(self._buckets, default=NEVER)
        return ended, False

    def walk(self) -> Iterator[Entry]:
        """Yield the entries, those first that are due first; they may come and go meanwhile.

        What is there all the time is yielded, unless its expiry comes nearer. A bucket may have a
        hundred thousand entries, so that nothing here looks at all of them in one step. Where two
        walk the same bucket, the first goes on with the next one.
        """
        due = -1
        while later := [key for key in self._buckets if key > due]:
            due = min(later)
            self._join(due)
            unwalked = self._unwalked[due] = self._buckets[due]
            self._buckets[due] = set()
            try:
                while unwalked:
                    entry = unwalked.pop()
                    self._buckets[due].add(entry)
                    yield entry
            finally:
                if self._unwalked.get(due) is unwalked:
                    self._join(due)

    def _join(self, due: int) -> None:
        """Let a bucket have again what was still to be walked of it."""
        unwalked = self._unwalked.pop(due, None)
        if unwalked is None:
            return
        less, more = sorted((unwalked, self._buckets[due]), key=len)
        more |= less
        self._buckets[due] = more
        if less is unwalked:
            less.clear()
        if not more:
            del self._buckets[due]

    def _due(self, second: int) -> Iterable[int]:
        """Return, in order, the buckets up to this second; after an idle hour, only those kept."""
        if second - self._second > len(self._buckets):
            return sorted(key for key in self._buckets if key <= second)
        return range(self._second + 1, second + 1)
