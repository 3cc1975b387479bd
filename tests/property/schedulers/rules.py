"""The rules of the schedulers, spelled out: a plain walk over the list at every pick.

Nothing is kept that a rule does not name, nothing is fast; that is their use: the fast schedulers
are held against these, and against the kernel in tests/kernel. The list is newest first. Costs are
fractions, see `Cost`. Rules that go by an address stand in `address_rules`.
"""

# ruff: noqa: D101, D102, ARG002 - the rules are the documentation, their signatures are the base's
from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from schedulers.base import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schedulers.base import Flow, Server


def usable(server: Server) -> bool:
    """Tell whether a server may be given a new connection."""
    return server.weight > 0 and not server.overloaded


class Cost(NamedTuple):
    """A fraction, its denominator above 0; two compare exactly, by the cross products."""

    numerator: int
    denominator: int = 1

    def below(self, other: Cost) -> bool:
        """Tell whether this is less; `fractions.Fraction` takes ten times as long."""
        return self.numerator * other.denominator < other.numerator * self.denominator


class Literal(Scheduler):
    """A scheduler that knows its list and nothing else; whoever comes or goes is an edit, too."""

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.servers: list[Server] = []

    def add(self, server: Server) -> None:
        self.servers.insert(0, server)
        self.edit(server)

    def remove(self, server: Server) -> None:
        self.servers.remove(server)
        self.edit(server)

    def behind(self, server: Server | None) -> list[Server]:
        """Return the part of the list behind a server; None stands for the head."""
        return self.servers[self.servers.index(server) + 1 :] if server else self.servers


class LiteralRr(Literal):
    name = "rr"
    last: Server | None = None

    def remove(self, server: Server) -> None:
        if server is self.last:
            place = self.servers.index(server)
            self.last = self.servers[place - 1] if place else None
        super().remove(server)

    def pick(self, flow: Flow, now: float) -> Server | None:
        for server in [*self.behind(self.last), *self.servers]:
            if usable(server):
                self.last = server
                return server
        return None


class LiteralWrr(Literal):
    name = "wrr"
    di = 1
    mw = 0
    cw = 0
    last: Server | None = None

    def edit(self, server: Server) -> None:
        positive = [server.weight for server in self.servers if server.weight > 0]
        self.di = gcd(*positive) or 1
        self.mw = max(positive, default=0) - (self.di - 1)
        if self.cw > self.mw or self.cw == 0:
            self.cw = self.mw
        elif self.di > 1:
            self.cw = (self.cw // self.di) * self.di + 1
        self.last = None

    def pick(self, flow: Flow, now: float) -> Server | None:
        if self.mw == 0:
            return None
        began, wrapped = self.last, False
        looked_at: set[Server] = set()  # with the lowest cw
        while True:
            for server in self.behind(self.last):
                self.last = server
                if server.weight >= self.cw and not server.overloaded:
                    return server
                if self.cw <= self.di:
                    looked_at.add(server)
                if wrapped and server is began and len(looked_at) == len(self.servers):
                    return None
            self.last = None
            self.cw -= self.di
            if self.cw <= 0:
                self.cw, wrapped = self.mw, True
                if len(looked_at) == len(self.servers):
                    return None


class LiteralLeast(Literal):
    """The first of the usable servers with the least ``cost``."""

    def cost(self, server: Server) -> Cost:
        raise NotImplementedError

    def pick(self, flow: Flow, now: float) -> Server | None:
        return first_least(self.servers, self.cost)


def first_least(servers: Iterable[Server], cost: Callable[[Server], Cost]) -> Server | None:
    """Return the usable server of least cost, the first one on a tie."""
    least = lowest = None
    for server in filter(usable, servers):
        its = cost(server)
        if lowest is None or its.below(lowest):
            least, lowest = server, its
    return least


def overhead_per_weight(server: Server) -> Cost:
    """Return what wlc compares."""
    return Cost(256 * server.active + server.total, server.weight)


class LiteralLc(LiteralLeast):
    name = "lc"

    def cost(self, server: Server) -> Cost:
        return Cost(256 * server.active + server.total)


class LiteralWlc(LiteralLeast):
    name = "wlc"

    def cost(self, server: Server) -> Cost:
        return overhead_per_weight(server)


class LiteralSed(LiteralLeast):
    name = "sed"

    def cost(self, server: Server) -> Cost:
        return Cost(server.active + 1, server.weight)


class LiteralNq(LiteralSed):
    name = "nq"

    def pick(self, flow: Flow, now: float) -> Server | None:
        for server in self.servers:
            if usable(server) and server.active == 0:
                return server
        return super().pick(flow, now)


class LiteralFo(LiteralLeast):
    name = "fo"

    def cost(self, server: Server) -> Cost:
        return Cost(-server.weight)


class LiteralOvf(LiteralLeast):
    name = "ovf"

    def cost(self, server: Server) -> Cost:
        return Cost(-server.weight)

    def pick(self, flow: Flow, now: float) -> Server | None:
        roomy = [server for server in self.servers if server.active <= server.weight]
        return first_least(roomy, self.cost)
