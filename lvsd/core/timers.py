"""A timer wheel: any number of entries, O(1) to set, move and expire.

Every entry lies in the bucket of one whole second. Putting an expiry off, what every packet
does, only writes ``entry.expires``: when the bucket's second comes, an entry whose time has
moved on goes to a later bucket. Only an expiry that comes *nearer* has to move at once. So an
entry ends at most a second late, and never early.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What the wheel holds: ``expires`` in seconds, ``due`` the second of its bucket."""

    expires: float
    due: int


Entry = TypeVar("Entry", bound=Timed)


class Wheel(Generic[Entry]):
    """Buckets of entries, one per second that has any."""

    __slots__ = ("_buckets", "_second")

    def __init__(self, now: float) -> None:
        self._second = int(now)
        self._buckets: dict[int, set[Entry]] = {}

    def add(self, entry: Entry) -> None:
        """Take in an entry whose ``expires`` is set."""
        due = entry.due = max(int(entry.expires), self._second) + 1
        bucket = self._buckets.get(due)
        if bucket is None:
            self._buckets[due] = {entry}
        else:
            bucket.add(entry)

    def remove(self, entry: Entry) -> None:
        """Forget an entry, if the wheel has it."""
        bucket = self._buckets.get(entry.due)
        if bucket is not None:
            bucket.discard(entry)

    def hasten(self, entry: Entry) -> None:
        """Move an entry whose ``expires`` may have come nearer; cheap if it has not."""
        if entry.expires < entry.due - 1:
            self.remove(entry)
            self.add(entry)

    def expired(self, now: float) -> list[Entry]:
        """Take out and return the entries that have expired by ``now``."""
        ended: list[Entry] = []
        second = int(now)
        if second - self._second > len(self._buckets):
            due = sorted(key for key in self._buckets if key <= second)
        else:
            due = list(range(self._second + 1, second + 1))
        self._second = max(second, self._second)
        for key in due:
            for entry in self._buckets.pop(key, ()):
                if entry.expires <= now:
                    ended.append(entry)
                else:
                    self.add(entry)
        return ended
