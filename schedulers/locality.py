"""What lblc and lblcr share: a cache from destination address to server, swept by a timer.

The cache has 1024 buckets by hash of the address and holds up to 24576 addresses, the kernel's
one and a half times 16384; beyond that new addresses are served but not remembered.
Every 60 s the timer looks at it:

- every 30th time it drops all entries idle for `expiration_s`, a day;
- else, with more than 16384 entries, it drops those idle for 6 min, bucket by bucket from
  where it stopped last, until at least min((n - 16384) * 4/3, 8192) are gone.

A time with more than 16384 entries does not count towards the 30.

Source: net/netfilter/ipvs/ip_vs_lblc.c, ip_vs_lblc_check_expire and is_overloaded; the same
in ip_vs_lblcr.c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from schedulers.hashing import fold, hash_32
from schedulers.wlc import WeightedLeastConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schedulers.base import Flow, Server, Weighed

TABLE_BITS = 10
TABLE_SIZE = 1 << TABLE_BITS

SWEEP_INTERVAL_S = 60.0
SWEEPS_PER_FULL_SWEEP = 30
IDLE_S = 6 * 60.0
EXPIRATION_S = 24 * 60 * 60.0


@dataclass(slots=True, eq=False)
class Entry:
    """What is remembered of one destination address, and when it was last asked for.

    Identity is what counts, not equality.
    """

    used_s: float


EntryT = TypeVar("EntryT", bound=Entry)


class LocalityCache(WeightedLeastConnection, Generic[EntryT]):
    """Weighted least connections with a cache in front of it; a subclass says what is cached.

    ``expiration_s`` is the sysctl lblc_expiration or lblcr_expiration, in seconds.
    """

    MAX_ENTRIES: ClassVar[int] = TABLE_SIZE * 16

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.expiration_s = EXPIRATION_S
        self._buckets: list[dict[bytes, EntryT]] = [{} for _ in range(TABLE_SIZE)]
        self._count = 0
        self._idlers: set[Server] = set()
        self._swept = 0
        self._sweeps = 1
        self._next_sweep_s: float | None = None

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield the same, and the cache, which only picks and sweeps change."""
        yield from super().forked()
        yield self._idlers, self._idlers.copy()
        yield self._buckets, self._buckets

    def add(self, server: Server) -> None:
        """Take in a new server."""
        super().add(server)
        self._note_idle(server)

    def remove(self, server: Server) -> None:
        """Forget a server; cached addresses of it are scheduled anew when asked for."""
        super().remove(server)
        self._idlers.discard(server)

    def changed(self, server: Server) -> None:
        """Weigh the server anew; one that was removed is passed over."""
        super().changed(server)
        if server in self.servers:
            self._note_idle(server)

    def tick(self, now: float) -> None:
        """Sweep the cache when 60 s have gone by since the first tick or the last sweep."""
        if self._next_sweep_s is None:
            self._next_sweep_s = now + SWEEP_INTERVAL_S
        elif now >= self._next_sweep_s:
            self._next_sweep_s = now + SWEEP_INTERVAL_S
            self._sweep(now)

    def pick_least(self, flow: Flow, now: float) -> Server | None:
        """Return the server that wlc picks, whatever the cache says."""
        return super().pick(flow, now)

    def can_relieve(self, server: Server) -> bool:
        """Tell whether a server has too much to do while another one is half idle.

        That is active > weight here and 2 * active < weight there; the overload flag and
        the thresholds play no part.
        """
        return server.active > server.weight and bool(self._idlers)

    def leaving(self, weighed: list[Weighed], home: Server | None) -> list[Weighed]:
        """Return the loads with everybody in the race; the home's text says what it was."""
        busy = home is not None and home.weight > 0 and self.can_relieve(home)
        label = "busy home" if busy else "home"
        return [
            replace(each, text=f"{label}: {each.text}") if each.server is home else each
            for each in weighed
        ]

    def bucket(self, address: bytes) -> dict[bytes, EntryT]:
        """Return the part of the cache that an address belongs to."""
        return self._buckets[hash_32(fold(address), TABLE_BITS)]

    def remember(self, bucket: dict[bytes, EntryT], address: bytes, entry: EntryT) -> None:
        """Cache an entry for an address that has none; not when the cache is full."""
        if self._count < self.MAX_ENTRIES * 3 // 2:
            bucket[address] = entry
            self._count += 1

    def _note_idle(self, server: Server) -> None:
        if 2 * server.active < server.weight:
            self._idlers.add(server)
        else:
            self._idlers.discard(server)

    def _sweep(self, now: float) -> None:
        if self._sweeps % SWEEPS_PER_FULL_SWEEP == 0:
            self._drop_idle(now - self.expiration_s, self._count + 1)
            self._sweeps = 1
        elif self._count <= self.MAX_ENTRIES:
            self._sweeps += 1
        else:
            goal = min((self._count - self.MAX_ENTRIES) * 4 // 3, self.MAX_ENTRIES // 2)
            self._drop_idle(now - IDLE_S, goal)

    def _drop_idle(self, since: float, goal: int) -> None:
        """Drop entries not used after ``since``, bucket by bucket, until ``goal`` are gone."""
        for _ in range(TABLE_SIZE):
            self._swept = (self._swept + 1) % TABLE_SIZE
            bucket = self._buckets[self._swept]
            idle = [address for address, entry in bucket.items() if entry.used_s <= since]
            for address in idle:
                del bucket[address]
            self._count -= len(idle)
            goal -= len(idle)
            if goal <= 0:
                break


def not_of(what: str, address: bytes) -> str:
    """Return that somebody is not, say, "the home" of an address; IPv6 ones are too long to say."""
    return f"not {what} of {ip_address(address) if len(address) == 4 else 'this address'}"
