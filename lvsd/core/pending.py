"""Connections of the director before this one that are written down, and not taken in yet.

To make a connection of a record takes some 20 us, and of a hundred thousand, seconds, in which
packets would wait. So they are only sorted at first (`lvsd.core.gathering`): found by both their
keys, counted as their server's and in the table, their local ports given to nobody. Then packets
are handled, and a record is taken in

- when a packet comes that has one of its keys, an ICMP error about one, or a new connection whose
  replies would have the same key (`find`);
- when a full table needs the entry of one that is still opening (`opening`);
- when its time may be over (`overdue`);
- before a command changes its service, a stop resets it, or a listing shows it (`taking_in`);
- else in its turn, in the background.

What nobody can tell from outside is whether one was taken in sooner or later.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from lvsd.core.kept_keys import padded, read_keys
from lvsd.core.local_pool import LocalPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lvsd.core.connection import Connection
    from lvsd.core.service import RealServer, Service
    from lvsd.core.shares import Share
    from lvsd.core.snapshot import Buffer

LOOKED_AT_ONCE: Final = 64
"""Records that were taken in already which one step passes over, at most."""


class Batch:
    """Records of connections to one server that have one state, and so time out together.

    ``objection`` says why they cannot go on, "" if they can. ``expires`` is on the director's
    clock. ``slots`` are theirs; some may have been taken in.

    Of those that are translated, ``ports`` are the local ones of ``pool``, packed, by what a
    reply's key has before them, up to ``port_at``.
    """

    __slots__ = (
        "add_slot",
        "expires",
        "is_active",
        "is_opening",
        "is_translated",
        "objection",
        "pool",
        "port_at",
        "ports",
        "server",
        "slots",
    )

    def __init__(self, objection: str, server: RealServer | None = None) -> None:
        self.objection = objection
        self.server = server
        self.is_translated = self.is_opening = self.is_active = False
        self.expires = 0.0
        self.slots: deque[int] = deque()
        self.port_at = 0
        self.pool = LocalPool()
        self.ports: dict[bytes, list[bytes]] = {}
        self.add_slot = None if objection else self.slots.append


class Pending:
    """The records at ``by_key``, by the padded keys of both directions.

    ``take_in`` makes a connection of the record at a slot; it returns None where that cannot be.
    ``over`` is called once none is left.
    """

    def __init__(
        self,
        buffer: Buffer,
        by_key: dict[bytes, int],
        batches: Iterable[Batch],
        take_in: Callable[[int], Connection | None],
        over: Callable[[], None],
    ) -> None:
        self._buffer = buffer
        self._by_key = by_key
        self._take_in = take_in
        self._over = over
        self._batches = sorted((each for each in batches if each.slots), key=_expires)
        self._first = 0
        """Batches before this one have nothing left."""
        self._opening: dict[Share, deque[Batch]] = {}
        for batch in self._batches:
            if batch.is_opening and batch.server is not None:
                share = batch.server.service.share
                self._opening.setdefault(share, deque()).append(batch)
        self._left = sum(len(each.slots) for each in self._batches)

    def __len__(self) -> int:
        return self._left

    def find(self, key: bytes) -> Connection | None:
        """Return the connection whose packets have this key, which is taken in; None if none is."""
        at = self._by_key.get(padded(key))
        return None if at is None else self.take(at)

    def take(self, at: int) -> Connection | None:
        """Take in the record at a slot, which waits; return its connection, if it goes on."""
        found = read_keys(self._buffer, at)
        for key in (found.key, found.reply_key):
            if self._by_key.get(key) == at:
                del self._by_key[key]
        self._left -= 1
        if not self._left:
            self._over()
        return self._take_in(at)

    def _next(self, batch: Batch) -> int | None:
        """Return the next slot of a batch whose record waits, None where none is found at once."""
        slots, by_key = batch.slots, self._by_key
        for _ in range(min(LOOKED_AT_ONCE, len(slots))):
            at = slots.popleft()
            found = read_keys(self._buffer, at)
            if by_key.get(found.key) == at or by_key.get(found.reply_key) == at:
                return at
        return None

    def taking_in(self, service: Service | None = None) -> Iterator[Connection | None]:
        """Take in what is left, of a service or of all, those first whose time is over first.

        Yield each that could be taken in, and None for other steps. Several may be at it.
        """
        for batch in tuple(self._batches):
            if service is not None and (batch.server is None or batch.server.service != service):
                continue
            while batch.slots:
                at = self._next(batch)
                yield None if at is None else self.take(at)

    def take_in_few(self, services: Iterable[Service], limit: int) -> set[Service]:
        """Take in what is left of services, so many at most; return those that have more."""
        unfinished = set()
        for service in services:
            for _ in self.taking_in(service):
                if limit <= 0:
                    unfinished.add(service)
                    break
                limit -= 1
        return unfinished

    def overdue(self, now: float, limit: int) -> bool:
        """Take in what may have expired by now, so many at most; return whether there is more."""
        for batch in self._batches[self._first :]:
            if batch.expires > now:
                return False
            while batch.slots:
                if not limit:
                    return True
                limit -= 1
                at = self._next(batch)
                if at is not None:
                    self.take(at)
            self._first += 1
        return False

    # --- those that are still opening -------------------------------------------------------------

    def opening_shares(self) -> list[Share]:
        """Return the shares that have connections here which are still opening."""
        return [share for share in tuple(self._opening) if self.has_opening(share)]

    def has_opening(self, share: Share) -> bool:
        """Whether a share has any of those."""
        return self._first_opening(share) is not None

    def opening(self, share: Share) -> Connection | None:
        """Take in a connection of a share that is still opening, and return it; None without one.

        They are older than all that opened here.
        """
        while (batch := self._first_opening(share)) is not None:
            at = self._next(batch)
            if at is not None and (connection := self.take(at)) is not None:
                return connection
        return None

    def _first_opening(self, share: Share) -> Batch | None:
        """Return the first batch of a share in which one waits that is still opening."""
        batches = self._opening.get(share, ())
        while batches:
            at = self._next(batches[0])
            if at is not None:
                batches[0].slots.appendleft(at)
                return batches[0]
            if not batches[0].slots:
                batches.popleft()
        self._opening.pop(share, None)
        return None


def _expires(batch: Batch) -> float:
    return batch.expires
