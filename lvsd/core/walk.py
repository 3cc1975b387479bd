"""Go through a dict that changes meanwhile, without a look at all of it at once.

A copy of the keys of two hundred thousand entries takes milliseconds, in which no packet is
handled, and Python lets nobody go on through a dict that has changed.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")

AT_ONCE: Final = 256
"""Keys that are read at once."""

REMEMBERED: Final = 1 << 16
"""Keys that are remembered as yielded. Only where so many in a row went between two steps may one
be yielded twice."""


def walk(
    found: dict[_Key, _Entry],
    removals: Callable[[], int],
    is_its_key: Callable[[_Key, _Entry], bool],
) -> Iterator[tuple[_Key, _Entry]]:
    """Yield keys and entries, oldest first: those that stay, each once, and some that come or go.

    ``removals`` tells how many keys were removed up to now, or more. ``is_its_key`` tells whether
    a key is the very object that an entry came with: an equal one may have come since.
    """
    left = len(found)
    told: deque[_Key] = deque(maxlen=REMEMBERED)
    keys, position, seen = iter(found), 0, (removals(), left)
    while left > 0:
        now = removals(), len(found)
        if now != seen:
            gone = now[0] - seen[0]
            seen = now
            while told and _entry(found, told[-1], is_its_key) is None:
                told.pop()
            position = _position(found, told[-1] if told else None, position, gone)
            keys = islice(found, position, None)
        some = tuple(islice(keys, min(AT_ONCE, left)))
        if not some:
            return
        told.extend(some)
        position += len(some)
        left -= len(some)
        for key in some:
            entry = _entry(found, key, is_its_key)
            if entry is not None:
                yield key, entry


def _entry(
    found: dict[_Key, _Entry], key: _Key, is_its_key: Callable[[_Key, _Entry], bool]
) -> _Entry | None:
    """Return the entry that came with a key, None if it is gone."""
    entry = found.get(key)
    return None if entry is None or not is_its_key(key, entry) else entry


def _position(found: dict[_Key, _Entry], last: _Key | None, position: int, gone: int) -> int:
    """Return how many keys there are up to the last one told, of which at most ``gone`` went.

    Without a last one: as many as are left at the least.
    """
    start = max(position - gone, 0)
    if last is None:
        return start
    start = max(start - 1, 0)
    for number, key in enumerate(islice(found, start, position), start + 1):
        if key is last:
            return number
    return start
