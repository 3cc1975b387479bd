"""Maglev hashing: the same client address, the same server, and few clients move.

Formula: a table of 4093 slots (a prime). Each server has an order of preference for all of
them, ``(offset + i * skip) mod 4093`` for i = 0, 1, 2 ...::

    offset = hash1(address + port) mod 4093
    skip   = hash2(address + port) mod 4092 + 1

hash1 and hash2 are SipHash-1-3 with two fixed keys, of the server's address and port added
up (mod 2**32). In list order, newest first, each server takes ``turns`` of the slots that it
prefers and that are still free, round after round until all are taken. turns is its weight
divided by the gcd of all weights and shifted right until the highest fits 6 bits (at least
1). The weight meant is the last one that was not 0: a server that is quiesced keeps its
slots, so nobody else's clients move, and its own are refused. A client has the slot
``hash1(address) mod 4093``. Flags:

    mh-port      hash address + source port, so that a client's connections spread
    mh-fallback  an unusable server: try hash1(address + slot + i) for i = 0, 1, 2 ...

The clients of a server that is being drained fall back without the flag.

Example, three servers of weight 1: each gets a third of the slots, 1364 or 1365. When one of
them is removed, its third is shared out between the other two, whose own clients stay but for
a few percent; sh would move half of them.

Cost per pick: O(1), one SipHash. With mh-fallback one more per unusable server that is met,
4093 at most, none when no server is usable. After a change of the servers the next pick fills the
table anew, if that was not done before, step by step (`settling`); it takes some 3 ms, however many
servers there are. While more than 64 slots are
free, each server tries its own in their order; for the rest it is cheaper to work out which of
them comes first in that order: ``(slot - last) / skip mod 4093`` of the last one that it tried.

When not to use it: few client addresses, many behind one NAT (mh-port, wlc). Of more than
4093 servers the oldest get nothing (the kernel leaves the old table, without a word).

Source: net/netfilter/ipvs/ip_vs_mh.c, ip_vs_mh_populate and ip_vs_mh_get_fallback;
Eisenbud et al., "Maglev", NSDI 2016, section 3.4.
"""

from __future__ import annotations

from itertools import chain, cycle, islice, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from schedulers.base import Flow, Scheduler, Server, Weighed, exhaust
from schedulers.hashing import MASK32, fold, hsiphash, weigh_owner
from schedulers.roster import Roster
from schedulers.weights import Weights
from schedulers.words import why_not

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

TABLE_SIZE = 4093
TURN_BITS = 6
"""Half of the table's bits (IP_VS_MH_TAB_BITS)."""

OFFSET_KEY = 2 * (2654435761).to_bytes(8, "little")
SKIP_KEY = 2 * (2654446892).to_bytes(8, "little")

AT_ONCE: Final = 256
"""Slots that are taken in one step: some 0.2 ms."""

FEW: Final = 64
"""The square root of the table's size: of so many free slots a try meets one of 64."""


class Preference(NamedTuple):
    """The order in which a server prefers slots: this one first, then so many further on."""

    offset: int
    skip: int


def preference(server: Server) -> Preference:
    """Return a server's order of preference."""
    value = fold(server.address) + server.port & MASK32
    return Preference(
        hsiphash(value, OFFSET_KEY) % TABLE_SIZE, hsiphash(value, SKIP_KEY) % (TABLE_SIZE - 1) + 1
    )


class MaglevHashing(Scheduler):
    """Picks the server that the client's address hashes to, consistently."""

    name = "mh"
    rule = "The server whose slot the client's address hashes to; else nobody, or a fallback."
    known_flags = frozenset({"mh-port", "mh-fallback"})
    looks_at = frozenset({"source"})
    asks_counts = False
    slow_start = "none"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._by_port = "mh-port" in flags
        if self._by_port:
            self.looks_at = frozenset({"source", "ports"})
        self._fallback = "mh-fallback" in flags
        self._roster = Roster()
        self._weights = Weights()
        """Those of which the last one that was not 0 counts."""
        self._preferences: dict[Server, Preference] = {}
        self._usable: set[Server] = set()
        self._leaving: set[Server] = set()
        self._table: list[Server] = []
        self._stale = self._held = False

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what holds servers; nobody changes a table."""
        yield self._roster, self._roster.fork()
        yield self._weights, self._weights.fork()
        yield self._preferences, self._preferences.copy()
        yield self._usable, self._usable.copy()
        yield self._leaving, self._leaving.copy()
        yield self._table, self._table

    def add(self, server: Server) -> None:
        """Take in a new server."""
        self._roster.add(server)
        self._weights.put(server, server.last_weight)
        self._preferences[server] = preference(server)
        self._stale = True
        self._note_usable(server)

    def remove(self, server: Server) -> None:
        """Forget a server."""
        self._roster.remove(server)
        self._weights.put(server, 0)
        del self._preferences[server]
        self._stale = True
        self._usable.discard(server)
        self._leaving.discard(server)

    def edit(self, server: Server) -> None:
        """Take notice of a new weight."""
        self._weights.put(server, server.last_weight)
        self._stale = True
        if server.leaving and not self._leaving:
            for each in self._roster.servers:
                self._note_usable(each)
        (self._leaving.add if server.leaving else self._leaving.discard)(server)
        self.changed(server)

    def changed(self, server: Server) -> None:
        """Take notice of a new overload flag; only the fallback wants to know beforehand."""
        if (self._fallback or self._leaving) and server in self._roster:
            self._note_usable(server)

    def hold(self) -> None:
        """Keep the table until `settling`."""
        self._held = True

    def settling(self) -> Iterator[None]:
        """Fill the table anew."""
        if self._stale:
            self._table = yield from populating(
                self._roster.servers, self._weights, self._preferences
            )
        self._stale = self._held = False

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - time plays no part
        """Return the server of the client's slot; when unusable None, or the fallback.

        So is one that was removed while the table is kept.
        """
        if self._stale and not (self._held and self._table):
            self._table = populate(self._roster.servers, self._weights, self._preferences)
            self._stale = False
        if not self._table:
            return None
        value = fold(flow.source)
        if self._by_port:
            value = value + flow.source_port & MASK32
        slot = hsiphash(value, OFFSET_KEY) % TABLE_SIZE
        server = self._table[slot]
        if server.overloaded or server.weight <= 0 or server not in self._preferences:
            if self._fallback or server.leaving:
                return self._next_usable(value, slot)
            return None
        return server

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - as `pick`'s
        """Return 0 for the server of the client's slot, or after how many tries the fallbacks are.

        While `pick` has not filled the table anew, one is filled for this answer alone.
        """
        servers = self._roster.servers
        table = self._table
        if self._stale:
            table = populate(servers, self._weights, self._preferences)
        if not table:
            return weigh_owner(servers, None, "no slot", {})
        value = fold(flow.source) + (flow.source_port if self._by_port else 0) & MASK32
        slot = hsiphash(value, OFFSET_KEY) % TABLE_SIZE
        owner = table[slot]
        falls_back = why_not(owner) and (self._fallback or owner.leaving)
        fallback = _fallbacks(table, value, slot) if falls_back else {}
        return weigh_owner(servers, owner, f"table slot {slot} of {TABLE_SIZE}", fallback)

    def _next_usable(self, value: int, slot: int) -> Server | None:
        """Return the server of the first further slot that is usable."""
        if not self._usable:
            return None
        for step in range(TABLE_SIZE):
            further = value + (slot + step) % TABLE_SIZE & MASK32
            server = self._table[hsiphash(further, OFFSET_KEY) % TABLE_SIZE]
            if server.weight > 0 and not server.overloaded and server in self._preferences:
                return server
        return None

    def _note_usable(self, server: Server) -> None:
        if server.weight > 0 and not server.overloaded:
            self._usable.add(server)
        else:
            self._usable.discard(server)


def populating(
    servers: Iterable[Server], weights: Weights, preferences: Mapping[Server, Preference]
) -> Generator[None, None, list[Server]]:
    """Fill the table for these servers, in list order, step by step; return it at the end.

    It is empty when all weights were always 0.
    """
    weighty = (server for server in servers if server.last_weight > 0)
    takers = list(islice(weighty, TABLE_SIZE))  # there is nothing left for others
    if not takers:
        return []
    divisor = weights.divisor
    shift = max(0, (weights.highest // divisor).bit_length() - TURN_BITS)
    turns = [server.last_weight // divisor >> shift or 1 for server in takers]
    yield
    slots = [preferences[server].offset for server in takers]
    yield
    skips = [preferences[server].skip for server in takers]
    asking = cycle(chain.from_iterable(map(repeat, range(len(takers)), turns)))
    yield

    table: list[Server | None] = [None] * TABLE_SIZE
    for asked in range(0, TABLE_SIZE - FEW, AT_ONCE):
        for taker in islice(asking, min(AT_ONCE, TABLE_SIZE - FEW - asked)):
            slot, skip = slots[taker], skips[taker]
            while table[slot] is not None:
                slot = (slot + skip) % TABLE_SIZE
            table[slot] = takers[taker]
            slots[taker] = slot
        yield
    free = [slot for slot, server in enumerate(table) if server is None]
    yield
    for taker in islice(asking, FEW):
        last, tries = slots[taker], pow(skips[taker], -1, TABLE_SIZE)
        away = [(slot - last) * tries % TABLE_SIZE for slot in free]
        slot = slots[taker] = free.pop(away.index(min(away)))
        table[slot] = takers[taker]
    return [server for server in table if server is not None]


def populate(
    servers: Iterable[Server], weights: Weights, preferences: Mapping[Server, Preference]
) -> list[Server]:
    """Return the same, at once."""
    return exhaust(populating(servers, weights, preferences))


def _fallbacks(table: list[Server], value: int, slot: int) -> dict[Server, tuple[int, str]]:
    """Return after how many tries each server that they meet is met first."""
    found: dict[Server, tuple[int, str]] = {}
    owners = len(set(table))
    for step in range(TABLE_SIZE):
        further = value + (slot + step) % TABLE_SIZE & MASK32
        place = hsiphash(further, OFFSET_KEY) % TABLE_SIZE
        found.setdefault(table[place], (step, f"fallback step {step}: slot {place} is its"))
        if len(found) == owners:
            break
    return found
