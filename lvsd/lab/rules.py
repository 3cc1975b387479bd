"""What each scheduler of the demo promises, as numbers, and the traffic that shows it.

A `Trial` sends its traffic and says how many requests each real server had to get. The
expectation comes from the rule alone: for rr, wrr and wlc from the weights, for sh from the
hash table that the scheduler itself builds, asked offline.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import schedulers
from lvsd.packet.address import pack, parse_endpoint
from schedulers.base import Flow, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lvsd.lab.settings import RealServer
    from lvsd.lab.traffic import Answer, Connection, Visitor

ANY_PORT = 0
"""Where sh hashes the address alone, the client's port does not matter."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the trials share: the servers by name, the visitor, the addresses it may use."""

    servers: Mapping[str, RealServer]
    visitor: Visitor
    sources: Sequence[str]

    @property
    def weights(self) -> dict[str, int]:
        """Each server's weight."""
        return {name: server.weight for name, server in self.servers.items()}


@dataclass(slots=True)
class Outcome:
    """What a trial showed: requests per server, expected and answered, and what was wrong.

    ``seen_as`` are the addresses of which the servers must see one; empty: each client's own.
    """

    expected: dict[str, int]
    answers: list[Answer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen_as: tuple[str, ...] = ()

    @property
    def seen(self) -> dict[str, int]:
        """Requests that each server answered."""
        counts = Counter(answer.server for answer in self.answers)
        return {name: counts.pop(name, 0) for name in self.expected} | counts

    def judge(self) -> list[str]:
        """Return everything that is not as the rule says; an empty list is success."""
        shares = [
            f"{name} answered {count} requests instead of {self.expected.get(name, 0)}"
            for name, count in self.seen.items()
            if count != self.expected.get(name, 0)
        ]
        hidden = [
            f"{answer.server} saw {answer.seen} instead of "
            + (" or ".join(self.seen_as) or f"its client {answer.source}")
            for answer in self.answers
            if answer.seen not in (self.seen_as or (answer.source,))
        ]
        return self.problems + shares + hidden[:1]


@dataclass(frozen=True, slots=True)
class InTurn:
    """rr and wrr: a fixed cycle of servers, so that whole cycles give exact shares."""

    name: str
    rule: str
    weighted: bool
    count: int = 300
    traffic: str = "each on a connection of its own"

    def requests(self, site: Site) -> int:
        """Return ``count``, rounded up to whole cycles."""
        cycle = sum(self._parts(site).values())
        return -(-self.count // cycle) * cycle

    def run(self, site: Site, sent: Callable[[], None]) -> Outcome:
        """Send every request on a connection of its own, from one address after the other."""
        count = self.requests(site)
        outcome = Outcome(proportional(self._parts(site), count))
        for source in itertools.islice(itertools.cycle(site.sources), count):
            outcome.answers.append(site.visitor.get(source))
            sent()
        return outcome

    def _parts(self, site: Site) -> dict[str, int]:
        return site.weights if self.weighted else dict.fromkeys(site.servers, 1)


@dataclass(frozen=True, slots=True)
class BySource:
    """sh: every client address has its server."""

    name: str = "sh"
    rule: str = "a hash of the client's address chooses: each client keeps its server"
    each: int = 15
    traffic: str = "the clients taking turns"

    def requests(self, site: Site) -> int:
        """Return ``each`` for every client address."""
        return self.each * len(site.sources)

    def run(self, site: Site, sent: Callable[[], None]) -> Outcome:
        """Send the requests, the clients taking turns."""
        home = homes(list(site.servers.items()), site.sources, site.visitor.vip)
        counts = Counter(home.values())
        outcome = Outcome({name: self.each * counts[name] for name in site.servers})
        strays: dict[str, str] = {}
        for source in itertools.chain.from_iterable(itertools.repeat(site.sources, self.each)):
            answer = site.visitor.get(source)
            outcome.answers.append(answer)
            if answer.server != home[source]:
                strays[source] = answer.server
            sent()
        outcome.problems += [
            f"client {source} belongs to {home[source]} and was answered by {server}"
            for source, server in strays.items()
        ]
        return outcome


@dataclass(frozen=True, slots=True)
class ByConnections:
    """wlc: the fewest connections for the weight.

    First ``per_weight`` connections per unit of weight are opened and held, which spreads them
    by weight. Then the first server's are closed, and as many opened again: all must go to the
    server that has become idle. Bounded by 256: a closed connection still counts 1/256th.
    """

    name: str = "wlc"
    rule: str = "the fewest connections for the weight: an idle server catches up"
    per_weight: int = 20
    traffic: str = (
        "each on a connection that stays open; then the first server's are closed "
        "and as many opened again"
    )

    def requests(self, site: Site) -> int:
        """Return the connections of both steps."""
        return sum(self.expected(site.weights).values())

    def expected(self, weights: Mapping[str, int]) -> dict[str, int]:
        """Return the connections that each server gets in both steps together."""
        first = next(iter(weights))
        return {
            name: self.per_weight * weight * (2 if name == first else 1)
            for name, weight in weights.items()
        }

    def run(self, site: Site, sent: Callable[[], None]) -> Outcome:
        """Open connections one after the other; close them all at the end."""
        outcome = Outcome(self.expected(site.weights))
        idle = next(iter(site.servers))
        sources = itertools.cycle(site.sources)
        with contextlib.ExitStack() as held:

            def open_next() -> Connection:
                connection = site.visitor.open(next(sources))
                held.callback(connection.close)
                outcome.answers.append(connection.answer)
                sent()
                return connection

            first = [open_next() for _ in range(self.per_weight * sum(site.weights.values()))]
            for connection in first:
                if connection.answer.server == idle:
                    connection.close()
            again = [open_next() for _ in range(self.per_weight * site.weights[idle])]
        late = Counter(connection.answer.server for connection in again)
        if late != {idle: len(again)}:
            outcome.problems.append(
                f"the last {len(again)} connections belong to {idle}, they went to {dict(late)}"
            )
        return outcome


Trial: TypeAlias = InTurn | BySource | ByConnections
"""One scheduler's part of the demo.

``name`` is the scheduler, as typed after -s, ``rule`` what it promises, ``traffic`` what `run`
sends, as a phrase. `requests` is how many `run` sends; it calls ``sent`` after each.
"""

TRIALS: Final[tuple[Trial, ...]] = (
    InTurn("rr", "one after the other, weights do not count", weighted=False),
    InTurn("wrr", "in turn, as often as the weight says", weighted=True),
    BySource(),
    ByConnections(),
)
"""What the demo shows, in this order."""


def proportional(parts: Mapping[str, int], count: int) -> dict[str, int]:
    """Divide ``count`` requests by parts. Exact: ``count`` is a multiple of their sum."""
    whole = sum(parts.values())
    if count % whole:
        raise ValueError(f"{count} requests are no whole number of cycles of {whole}")
    return {name: count // whole * part for name, part in parts.items()}


def homes(
    servers: Sequence[tuple[str, RealServer]], sources: Sequence[str], vip: str
) -> dict[str, str]:
    """Return each client address with the name of the server that sh gives it."""
    scheduler = schedulers.load("sh")(frozenset())
    names: dict[int, str] = {}
    for name, server in servers:
        address, port = parse_endpoint(server.address)
        entry = Server(address, port, server.weight)
        scheduler.add(entry)
        names[id(entry)] = name
    home = {}
    for source in sources:
        picked = scheduler.pick(Flow(pack(source), ANY_PORT, pack(vip), ANY_PORT), now=0.0)
        home[source] = names[id(picked)]
    return home
