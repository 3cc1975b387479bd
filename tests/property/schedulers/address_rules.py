"""The rules of the schedulers that hash an address or remember it, spelled out as in `rules`."""

# ruff: noqa: D101, D102, ARG002 - the rules are the documentation, their signatures are the base's
from __future__ import annotations

from functools import lru_cache, reduce
from math import gcd
from operator import xor
from typing import TYPE_CHECKING, ClassVar

from tests.property.schedulers.rules import (
    Literal,
    LiteralWlc,
    first_least,
    overhead_per_weight,
    usable,
)

if TYPE_CHECKING:
    from schedulers.base import Flow, Server

TWO_32 = 2**32


@lru_cache(maxsize=1 << 14)
def folded(address: bytes) -> int:
    """Return an IPv4 address as a number, of an IPv6 one the XOR of its four words."""
    words = [int.from_bytes(address[at : at + 4], "big") for at in range(0, len(address), 4)]
    return reduce(xor, words)


def bucket(value: int, bits: int) -> int:
    """Return the upper bits of the product with the golden ratio."""
    return ((value * 0x61C88647) % TWO_32) >> (32 - bits)


class LiteralDh(Literal):
    name = "dh"

    def pick(self, flow: Flow, now: float) -> Server | None:
        if not self.servers:
            return None
        server = self.servers[bucket(folded(flow.destination), 8) % len(self.servers)]
        return server if usable(server) else None


class LiteralSh(Literal):
    """The table is dealt out when servers or weights change, for that is when the kernel does."""

    name = "sh"
    known_flags = frozenset({"sh-port", "sh-fallback"})

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.table: list[Server] = []

    def edit(self, server: Server) -> None:
        self.table = []
        while self.servers and len(self.table) < 256:
            for taker in self.servers:
                take = min(max(1, taker.weight), 256 - len(self.table))
                self.table += [taker] * take

    def pick(self, flow: Flow, now: float) -> Server | None:
        if not self.table:
            return None
        value = folded(flow.source)
        if "sh-port" in self.flags:
            value = (value + flow.source_port) % TWO_32
        home = bucket(value, 8)
        tries = [home]
        if "sh-fallback" in self.flags:
            tries += [(2 * home + step) % 256 for step in range(256)]
        for place in tries:
            if usable(self.table[place]):
                return self.table[place]
        return None


class LiteralMh(Literal):
    name = "mh"
    known_flags = frozenset({"mh-port", "mh-fallback"})
    PRIME: ClassVar[int] = 4093

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.table: dict[int, Server] = {}
        self.dealt = False

    def edit(self, server: Server) -> None:
        self.dealt = False

    def deal(self) -> None:
        """Let every server take, when it is its turn, the free slot that it likes best."""
        self.dealt = True
        self.table = {}
        weights = [server.last_weight for server in self.servers]
        divisor = gcd(*weights)
        if divisor == 0:
            return
        shift = max(0, (max(weights) // divisor).bit_length() - 6)
        preferences = {server: iter(self.preference(server)) for server in self.servers}
        while len(self.table) < self.PRIME:
            for taker in self.servers:
                turns = max(taker.last_weight // divisor >> shift, min(taker.last_weight, 1))
                for _ in range(turns):
                    for slot in preferences[taker]:  # goes on behind the last one that it took
                        if slot not in self.table:
                            self.table[slot] = taker
                            break

    def preference(self, server: Server) -> tuple[int, ...]:
        return preferred((folded(server.address) + server.port) % TWO_32, self.PRIME)

    def pick(self, flow: Flow, now: float) -> Server | None:
        if not self.dealt:
            self.deal()
        if not self.table:
            return None
        value = folded(flow.source)
        if "mh-port" in self.flags:
            value += flow.source_port
        home = siphash13(value % TWO_32, 2654435761) % self.PRIME
        if usable(self.table[home]):
            return self.table[home]
        if "mh-fallback" in self.flags:
            for step in range(self.PRIME):
                offset = (home + step) % self.PRIME
                slot = siphash13((value + offset) % TWO_32, 2654435761) % self.PRIME
                if usable(self.table[slot]):
                    return self.table[slot]
        return None


@lru_cache(maxsize=1 << 10)
def preferred(value: int, slots: int) -> tuple[int, ...]:
    """Return the slots of mh's table in the order in which a server likes them."""
    offset = siphash13(value, 2654435761) % slots
    skip = siphash13(value, 2654446892) % (slots - 1) + 1
    return tuple((offset + step * skip) % slots for step in range(slots))


@lru_cache(maxsize=1 << 14)
def siphash13(value: int, key_word: int) -> int:
    """Return the low 32 bits of SipHash-1-3 of four bytes; both words of the key are alike."""
    mask = 2**64 - 1

    def rotate(word: int, bits: int) -> int:
        return ((word << bits) | (word >> (64 - bits))) & mask

    def half_round(a: int, b: int, c: int, d: int, s: int, t: int) -> tuple[int, int, int, int]:
        a, c = (a + b) & mask, (c + d) & mask
        b, d = rotate(b, s) ^ a, rotate(d, t) ^ c
        return rotate(a, 32), b, c, d

    def sip_round(state: list[int]) -> list[int]:
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = half_round(v0, v1, v2, v3, 13, 16)
        v2, v1, v0, v3 = half_round(v2, v1, v0, v3, 17, 21)
        return [v0, v1, v2, v3]

    text = b"somepseudorandomlygeneratedbytes"
    state = [int.from_bytes(text[at : at + 8], "big") ^ key_word for at in range(0, 32, 8)]
    block = (4 << 56) | value
    state[3] ^= block
    state = sip_round(state)
    state[0] ^= block
    state[2] ^= 0xFF
    for _ in range(3):
        state = sip_round(state)
    return reduce(xor, state) % TWO_32


class LiteralLblc(LiteralWlc):
    """One dict for each thing that the rule keeps of an address."""

    name = "lblc"
    MAX_ENTRIES: ClassVar[int] = 16384

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.expiration_s = 24 * 3600.0
        self.cache: dict[bytes, list[Server]] = {}
        self.used: dict[bytes, float] = {}
        self.changed_at: dict[bytes, float] = {}
        self.rover = 0
        self.runs = 1
        self.due: float | None = None

    def too_busy(self, server: Server) -> bool:
        half_idle = any(2 * other.active < other.weight for other in self.servers)
        return server.active > server.weight and half_idle

    def cached(self, address: bytes, now: float) -> Server | None:
        """Return what the cache says of an address that it holds."""
        (server,) = self.cache[address]
        good = server in self.servers and server.weight > 0 and not self.too_busy(server)
        return server if good else None

    def learn(self, address: bytes, server: Server, now: float) -> None:
        """Note the server that wlc has chosen for an address that the cache holds."""
        self.cache[address] = [server]

    def pick(self, flow: Flow, now: float) -> Server | None:
        address = flow.destination
        if address in self.cache:
            self.used[address] = now
            server = self.cached(address, now)
            if server is not None:
                return server
        server = super().pick(flow, now)
        if server is None:
            return None
        if address in self.cache:
            self.learn(address, server, now)
        elif len(self.cache) < self.MAX_ENTRIES * 3 // 2:
            self.cache[address] = [server]
            self.used[address] = self.changed_at[address] = now
        return server

    def tick(self, now: float) -> None:
        if self.due is not None and now < self.due:
            return
        first, self.due = self.due is None, now + 60
        if first:
            return
        surplus = len(self.cache) - self.MAX_ENTRIES
        if self.runs % 30 == 0:
            for place in range(1024):
                self.drop(place, now - self.expiration_s)
            self.runs = 1
        elif surplus <= 0:
            self.runs += 1
        else:
            goal = min(surplus * 4 // 3, self.MAX_ENTRIES // 2)
            for _ in range(1024):
                self.rover = (self.rover + 1) % 1024
                goal -= self.drop(self.rover, now - 360)
                if goal <= 0:
                    break

    def drop(self, place: int, since: float) -> int:
        """Drop what is in this bucket and was not used later; return how many."""
        old = [
            address
            for address in self.cache
            if self.used[address] <= since and bucket(folded(address), 10) == place
        ]
        for address in old:
            del self.cache[address], self.used[address], self.changed_at[address]
        return len(old)


class LiteralLblcr(LiteralLblc):
    name = "lblcr"

    def cached(self, address: bytes, now: float) -> Server | None:
        members = self.cache[address]
        least = first_least([m for m in members if m in self.servers], overhead_per_weight)
        if len(members) > 1 and now > self.changed_at[address] + self.expiration_s:
            most = None
            for member in members:
                if member.weight > 0 and (
                    most is None or overhead_per_weight(most).below(overhead_per_weight(member))
                ):
                    most = member
            if most is not None:
                members.remove(most)
                self.changed_at[address] = now
        return None if least is None or self.too_busy(least) else least

    def learn(self, address: bytes, server: Server, now: float) -> None:
        if server not in self.cache[address]:
            self.cache[address].insert(0, server)
            self.changed_at[address] = now
