"""Connections and persistence templates, and the table that holds them.

A connection is one object with two keys in one dict: the request's (client, VIP) and the
reply's (real server, client), each the bytes as they lie in a packet of that direction. What
many connections share stands in their `Path`; with that an entry takes under 700 bytes, keys,
dict and timer included (bench/memory.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.admission import Shares
from lvsd.core.timers import NEVER, Wheel
from lvsd.packet.view import split_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forwarders.base import End
    from lvsd.core.local_ports import FreePorts
    from lvsd.core.path import Path
    from lvsd.core.service import RealServer
    from lvsd.packet.translation import Translation

LINGER_S = 60.0
"""An expired template that still controls connections lives on in steps of this."""


class Template:
    """A promise of persistence: this client (or network) goes to this real server.

    ``controlled`` counts its living connections; ``assured`` once one of them was established.
    ``timeout`` is the service's, in seconds; `LINGER_S` once it has lived on. One that is
    ``retired`` has been found without a usable server, and is not found again.
    """

    __slots__ = (
        "assured",
        "controlled",
        "due",
        "expires",
        "key",
        "retired",
        "server",
        "timeout",
    )

    def __init__(self, key: TemplateKey, server: RealServer, timeout: float) -> None:
        self.key = key
        self.server = server
        self.timeout = timeout
        self.expires = 0.0
        self.due = 0
        self.controlled = 0
        self.assured = False
        self.retired = False


TemplateKey = tuple[int, bytes, bytes, int]
"""Protocol (0: a fwmark service), masked client, VIP (or the mark, packed), vport."""


class Connection:
    """One client's connection to one real server.

    ``reply_key`` is what replies are found by; where they bypass the director, ``key`` again.
    ``state`` is an index into ``path.protocol.states``; ``active`` says whether the real server
    counts it as such.
    """

    __slots__ = (
        "active",
        "due",
        "expires",
        "fwmark",
        "key",
        "path",
        "reply_key",
        "state",
        "template",
    )

    def __init__(
        self,
        key: bytes,
        reply_key: bytes,
        path: Path,
        template: Template | None = None,
        fwmark: int = 0,
    ) -> None:
        self.key = key
        self.reply_key = reply_key
        self.path = path
        self.template = template
        self.fwmark = fwmark
        self.state = 0
        self.active = False
        self.expires = 0.0
        self.due = 0

    @property
    def protocol(self) -> int:
        """The IP protocol number."""
        return self.path.protocol.number

    @property
    def state_name(self) -> str:
        """The state as ``lvsadm -Lnc`` prints it."""
        return self.path.protocol.states[self.state]

    @property
    def client(self) -> tuple[bytes, int]:
        """The client's address and port."""
        return split_key(self.key)[0]


class TranslatedConnection(Connection):
    """A connection both of whose ends are changed (FULLNAT), each connection's its own way.

    ``translation`` does it; ``reply_key``'s destination is the local endpoint, whose port is one
    of ``ports``.
    """

    __slots__ = ("ports", "translation")

    def __init__(
        self, key: bytes, reply_key: bytes, path: Path, translation: Translation, ports: FreePorts
    ) -> None:
        Connection.__init__(self, key, reply_key, path)  # sooner than by super() (bench/core.py)
        self.translation = translation
        self.ports = ports

    @property
    def ends(self) -> tuple[End, End]:
        """The real server's endpoint and ours towards it."""
        return split_key(self.reply_key)


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
    """

    __slots__ = ("_shadowed", "_wheel", "by_key", "count", "retired", "shares", "templates")

    def __init__(self, now: float) -> None:
        self.by_key: dict[bytes, Connection] = {}
        self.templates: dict[TemplateKey, Template] = {}
        self.retired: set[Template] = set()
        self.count = 0
        self._shadowed: dict[bytes, dict[Connection, None]] = {}
        self.shares = Shares()
        self._wheel: Wheel[Connection | Template] = Wheel(now)

    def __len__(self) -> int:
        return self.count + len(self.templates) + len(self.retired)

    def __iter__(self) -> Iterator[Connection]:
        return (connection for key, connection in self.by_key.items() if key is connection.key)

    @property
    def template_count(self) -> int:
        """How many templates there are, retired ones included."""
        return len(self.templates) + len(self.retired)

    def add(self, connection: Connection) -> None:
        """Take in a connection whose ``expires`` is set."""
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
        """Forget a connection; a key that it had taken over goes back to the one before.

        Both its keys are one where a server is its own client.
        """
        shadowed = self._shadowed
        for key in {connection.key, connection.reply_key}:
            if shadowed and key in shadowed:
                self._unshadow(key, connection)
            else:
                del self.by_key[key]
        self.count -= 1
        self.shares.give_back(connection.path.server.service.share)
        self._wheel_of(connection).remove(connection)

    def _unshadow(self, key: bytes, connection: Connection) -> None:
        """Take a connection off a key that several claim."""
        older = self._shadowed[key]
        if self.by_key[key] is connection:
            self.by_key[key], _ = older.popitem()
        else:
            del older[connection]
        if not older:
            del self._shadowed[key]

    def add_template(self, template: Template) -> None:
        """Take in a template whose ``expires`` is set and whose key is free."""
        self.templates[template.key] = template
        self.shares.take(template.server.service.share)
        self._wheel.add(template)

    def retire(self, template: Template) -> None:
        """Let a template not be found any more; it lives out its time (ip_vs_check_template)."""
        del self.templates[template.key]
        template.retired = True
        self.retired.add(template)

    def remove_template(self, template: Template) -> None:
        """Forget a template."""
        if template.retired:
            self.retired.discard(template)
        else:
            del self.templates[template.key]
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

        ``limit`` bounds the time that it takes: so many entries are looked at, or twice as many.
        """
        ended, more = self._wheel.expired(now, limit)
        for share in tuple(self.shares.opening):
            if more or len(ended) >= limit:
                return ended, True
            if share.opening.is_due(now):
                opened, more = share.opening.expired(now, limit - len(ended))
                ended += opened
            if not share.opening:
                del self.shares.opening[share]
        return ended, more

    def walk(self) -> Iterator[Connection | Template]:
        """Yield all entries, one by one; the table may change meanwhile."""
        for share in tuple(self.shares.opening):
            yield from share.opening.walk()
        yield from self._wheel.walk()
