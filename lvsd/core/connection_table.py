"""The table of connections and persistence templates, and the timers that end them.

A connection is one object with two keys in one dict: the request's (client, VIP) and the
reply's (real server, client), each the bytes as they lie in a packet of that direction. What
many connections share stands in their `Path`; with that an entry takes under 700 bytes, keys,
dict and timer included (bench/memory.py).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from lvsd.core.shares import Shares
from lvsd.core.template import Template
from lvsd.core.timers import NEVER, Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.connection import Connection
    from lvsd.core.pending import Pending
    from lvsd.core.shares import Share
    from lvsd.core.template import TemplateKey

DUE_COSTS: Final = 4
"""What a look through a service's own wheel costs, in entries that end."""


class ConnectionTable:
    """Every living connection by both its keys, every template, and their timers.

    Two connections may claim one key: a client that uses one port towards two virtual services
    with the same real server gets replies that look alike. They go to the newer connection while
    it lives, as in the kernel; the older ones wait in ``_shadowed``, oldest first, in dicts
    used as ordered sets: one key may have many claimants, and each of them can end at any time.

    ``retired`` are templates that are no longer found, but live out their time. ``shares`` says
    what each service has of the table.

    Connections that are still opening lie in their service's own wheel (`Share.opening`), all
    else in the table's.

    ``count`` and the shares have those of the director before this one, too, that are still to be
    taken in, if there are any: ``pending``. `find` takes in the one that is asked for.
    """

    __slots__ = (
        "_removals",
        "_shadowed",
        "_unlooked",
        "_wheel",
        "by_key",
        "count",
        "pending",
        "retired",
        "shares",
        "templates",
    )

    def __init__(self, now: float) -> None:
        self.by_key: dict[bytes, Connection] = {}
        self.templates: dict[TemplateKey, Template] = {}
        self.retired: set[Template] = set()
        self.count = 0
        self.pending: Pending | None = None
        self._removals = 0
        self._shadowed: dict[bytes, dict[Connection, None]] = {}
        self.shares = Shares()
        self._unlooked: deque[Share] = deque()
        """Shares that `expired` has still to look at, in this round."""
        self._wheel: Wheel[Connection | Template] = Wheel(now)

    def __len__(self) -> int:
        return self.count + len(self.templates) + len(self.retired)

    def __iter__(self) -> Iterator[Connection]:
        return (connection for key, connection in self.by_key.items() if key is connection.key)

    def find(self, key: bytes) -> Connection | None:
        """Return the connection whose packets have a key, in either direction."""
        connection = self.by_key.get(key)
        if connection is None and self.pending is not None:
            return self.pending.find(key)
        return connection

    @property
    def template_count(self) -> int:
        """How many templates there are, retired ones included."""
        return len(self.templates) + len(self.retired)

    def add(self, connection: Connection) -> None:
        """Take in a connection whose ``expires`` is set."""
        if self.pending is not None:
            self.pending.find(connection.reply_key)  # older: it waits until this one ends
        by_key = self.by_key
        for key in (connection.key, connection.reply_key):
            older = by_key.setdefault(key, connection)
            if older is not connection:
                self._shadowed.setdefault(key, {})[older] = None
                by_key[key] = connection
        self.count += 1
        self.shares.take(connection.path.server.service.share)
        self._wheel_of(connection).add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection; a key that it had taken over goes back to the one before."""
        self.drop(connection)
        self._wheel_of(connection).remove(connection)

    def drop(self, connection: Connection) -> None:
        """Forget a connection that `expired` returned: it is in no wheel any more.

        Both its keys are one where a server is its own client.
        """
        shadowed = self._shadowed
        for key in {connection.key, connection.reply_key}:
            if shadowed and key in shadowed:
                self._unshadow(key, connection)
            else:
                del self.by_key[key]
        self.count -= 1
        self._removals += 1
        self.shares.give_back(connection.path.server.service.share)

    def _unshadow(self, key: bytes, connection: Connection) -> None:
        """Take a connection off a key that several claim."""
        older = self._shadowed[key]
        if self.by_key[key] is connection:
            self.by_key[key], _ = older.popitem()
        else:
            del older[connection]
        if not older:
            del self._shadowed[key]

    def count_many(self, share: Share, connections: int) -> None:
        """Count so many connections of a service's share that are ``pending`` from now on."""
        self.count += connections
        self.shares.take_many(share, connections)

    def uncount(self, share: Share) -> None:
        """Count one connection less of a service's share, one that is not in the table yet."""
        self.count -= 1
        self.shares.give_back(share)

    def add_template(self, template: Template) -> None:
        """Take in a template whose ``expires`` is set and whose key is free."""
        self.templates[template.key] = template
        self.shares.take(template.server.service.share)
        self._wheel.add(template)

    def retire(self, template: Template) -> None:
        """Let a template not be found any more; it lives out its time (ip_vs_check_template)."""
        del self.templates[template.key]
        self._removals += 1
        template.retired = True
        self.retired.add(template)

    def remove_template(self, template: Template) -> None:
        """Forget a template."""
        if template.retired:
            self.retired.discard(template)
        else:
            del self.templates[template.key]
        self._removals += 1
        self.shares.give_back(template.server.service.share)
        self._wheel.remove(template)

    def hasten(self, connection: Connection) -> None:
        """Let the wheel know that a connection's ``expires`` may have come nearer."""
        self._wheel_of(connection).hasten(connection)

    def rearm(self, entry: Connection | Template) -> None:
        """Give an entry that `expired` returned another term, ``expires`` being set."""
        if isinstance(entry, Template):
            self._wheel.add(entry)
        else:
            self._wheel_of(entry).add(entry)

    def lift(self, connection: Connection) -> None:
        """Take a connection out of its wheel, before its state says that it belongs to the other.

        `hasten` puts it there, once its state and ``expires`` are set. One that is in no wheel, as
        it is not in the table yet, stays so.
        """
        if connection.due:
            self._wheel_of(connection).remove(connection)
            connection.due = NEVER

    def _wheel_of(self, connection: Connection) -> Wheel[Connection] | Wheel[Connection | Template]:
        """Return the wheel that a connection of this state belongs to."""
        path = connection.path
        if not path.protocol.opening[connection.state]:
            return self._wheel
        share = path.server.service.share
        self.shares.opening[share] = None
        return share.opening

    def expired(self, now: float, limit: int) -> tuple[list[Connection | Template], bool]:
        """Take entries that have expired out of the wheel; return them, and whether to ask again.

        ``limit`` bounds the time that it takes: so many entries, and wheels of services, are looked
        at, or twice as many.
        """
        ended, more = self._wheel.expired(now, limit)
        if more or len(ended) >= limit:
            return ended, True
        unlooked = self._unlooked or deque(self.shares.opening)
        self._unlooked = unlooked
        enough = limit
        for _ in range(limit):
            if not unlooked:
                return ended, False
            share = unlooked[0]
            if share.opening.is_due(now):
                opened, more = share.opening.expired(now, enough - len(ended))
                ended += opened
                enough -= DUE_COSTS
            if not share.opening:
                self.shares.opening.pop(share, None)
            if not more:
                unlooked.popleft()
            if more or len(ended) >= enough:
                break
        return ended, more or bool(unlooked)

    def removed(self) -> int:
        """Return how many keys were removed up to now, or more: a connection has two at most."""
        return 2 * self._removals

    def walk(self) -> Iterator[Connection | Template]:
        """Yield all entries, one by one; the table may change meanwhile."""
        for share in tuple(self.shares.opening):
            yield from share.opening.walk()
        yield from self._wheel.walk()
