"""What a scheduler is: the server it chooses, the flow it chooses for, the methods it has.

A scheduler holds its own view of a service's real servers and answers one question: which
of them takes the next connection. The service tells it of everything that happens::

    start(servers)   it takes over from another scheduler
    add(server)      a real server joins, at the head of the list (newest first)
    remove(server)   it leaves
    edit(server)     its weight or thresholds are new
    fork()           what it goes back to, if a change is refused half way
    hold()           more of such changes are to come, up to
    settling()       work out now what picks need, step by step
    changed(server)  its connection counts or its overload flag are new
    pick(flow, now)  who takes this connection? None: nobody can
    weigh(flow, now) why that one? what each server stands for in that pick, for people
    position()       where its turn stands, for another one of another process, which is to
    resume(position) go on there

A service that goes takes its scheduler with it, which is told nothing any more.

Nothing here knows of packets, sockets or clocks: ``now`` is handed in, in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from fractions import Fraction

ACTIVE_COST = 256
"""An active connection weighs this much more than an inactive one (ip_vs_dest_conn_overhead)."""


Looked: TypeAlias = Literal["source", "destination", "ports"]
"""A part of a `Flow`: an address, or both ports."""

SlowStart: TypeAlias = Literal["turns", "shares", "weights", "none"]
"""How a server can be let begin with a part of its weight (`lvsd.core.slow_start`).

turns    its turns can be passed over: asked again at once, `pick` returns the next in turn
shares   only how weights compare counts: multiplied by the same number, picks are the same
weights  weights count as numbers
none     they do not count, or say which flows are whose
"""

NOTHING: Final[frozenset[Looked]] = frozenset()
EVERYTHING: Final[frozenset[Looked]] = frozenset({"source", "destination", "ports"})


@dataclass(slots=True, eq=False)
class Server:
    """A real server as a scheduler sees it. Identity is what counts, not equality.

    ``address`` is packed (4 or 16 bytes), ``port`` 0 means the port the client asked for.
    ``upper`` and ``lower`` bound the total of connections (0: no bound); ``lower`` 0 means
    upper - upper // 4. ``last_weight`` is the latest weight that was not zero.

    The counts follow the life of a connection: `open` (it counts as inactive at first),
    `activate` and `deactivate` as its state changes, `close`. After each the owner calls the
    scheduler's `changed`. Templates of persistence are never counted here.
    """

    address: bytes
    port: int
    weight: int = 1
    upper: int = 0
    lower: int = 0
    active: int = 0
    total: int = 0
    overloaded: bool = False
    last_weight: int = field(init=False)

    def __post_init__(self) -> None:
        self.last_weight = self.weight

    def __deepcopy__(self, _: object) -> Self:
        """Return the server itself: a copy of a scheduler schedules the same ones."""
        return self

    @property
    def inactive(self) -> int:
        """Connections that are open but not active."""
        return self.total - self.active

    @property
    def leaving(self) -> bool:
        """Whether it is being drained: its weight is 0, and what is its goes to others.

        Where a weight of 0 would leave a client without a server, this does not.
        """
        return False

    @property
    def overhead(self) -> int:
        """The load that lc and wlc compare: 256 * active + total (ip_vs_dest_conn_overhead)."""
        return ACTIVE_COST * self.active + self.total

    def open(self) -> None:
        """Count a new connection, inactive at first; may set the overload flag."""
        self.total += 1
        if self.total == self.upper:
            self.overloaded = True

    def take_over(self, total: int, active: int) -> None:
        """Count so many connections at once, some of them active; may set the overload flag."""
        before = self.total
        self.total += total
        self.active += active
        if before < self.upper <= self.total:
            self.overloaded = True

    def activate(self) -> None:
        """Count one inactive connection as active from now on."""
        self.active += 1

    def deactivate(self) -> None:
        """Count one active connection as inactive from now on."""
        self.active -= 1

    def close(self) -> None:
        """Forget an inactive connection; may clear the overload flag."""
        self.total -= 1
        if self.overloaded and self.total < self._release and self.total < self.upper:
            self.overloaded = False

    def set_weight(self, weight: int) -> None:
        """Give the server another weight (0: quiesced, no new connections)."""
        self.weight = weight
        if weight:
            self.last_weight = weight

    def set_thresholds(self, upper: int, lower: int) -> None:
        """Give the server other bounds; the overload flag follows at once."""
        if (upper, lower) == (self.upper, self.lower):
            return
        self.upper, self.lower = upper, lower
        if not upper or self.total < self._release:
            self.overloaded = False
        elif self.total >= upper:
            self.overloaded = True

    @property
    def _release(self) -> int:
        """Below this total the overload flag clears (l_threshold_val)."""
        return self.lower or self.upper - (self.upper >> 2)


@dataclass(slots=True)
class Flow:
    """What a scheduler may look at of the packet that opens a connection.

    Addresses are packed, 4 bytes or 16, both of the same family.
    """

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a server stands for in a pick: the least ``number`` is picked.

    ``number`` None: it is not in the race. ``text`` is the arithmetic, with the server's own
    numbers, or why not; some 50 characters at most.
    """

    server: Server
    number: int | Fraction | None
    text: str


_Returned = TypeVar("_Returned")


def exhaust(steps: Generator[None, None, _Returned]) -> _Returned:
    """Do all steps at once; return what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            returned: _Returned = end.value
            return returned


class Scheduler(ABC):
    """The base of every scheduling algorithm.

    ``name`` is what the operator types after ``-s``, ``known_flags`` what may be typed after
    ``-b``, ``rule`` a sentence for people: who is picked. A subclass overrides `pick` and as
    many of the notifications as it needs, and `weigh` if it can say why.

    ``looks_at`` says which parts of the flow play a part in a pick: two flows that agree in these
    are the same to the scheduler. Where that depends on the flags, an instance says so for itself.
    ``asks_counts`` says whether the numbers of connections play a part, beyond the overload flag.
    Whoever says neither is taken to look at everything. ``slow_start`` says what its weights mean.
    """

    name: ClassVar[str]
    rule: ClassVar[str] = ""
    known_flags: ClassVar[frozenset[str]] = frozenset()
    looks_at: frozenset[Looked] = EVERYTHING
    asks_counts: ClassVar[bool] = True
    slow_start: ClassVar[SlowStart] = "weights"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        unknown = flags - self.known_flags
        if unknown:
            known = ", ".join(sorted(self.known_flags)) or "none"
            raise ValueError(
                f"scheduler {self.name} has no flag {', '.join(sorted(unknown))}; it knows: {known}"
            )
        self.flags = flags

    def fork(self) -> Self:
        """Return a scheduler in the same state, with the same servers, that goes on by itself.

        A change that is refused half way goes back to it: whichever of the two is not needed is
        asked nothing any more, so they may share what only `pick` and `tick` change. It is made
        before each change of the service, and packets wait: it is a deep copy, which takes a
        microsecond for each thing in it, but for what `forked` says.
        """
        return deepcopy(self, {id(mine): its for mine, its in self.forked()})

    def forked(self) -> Iterable[tuple[object, object]]:
        """Yield what is large, each with what a fork has in its place, which costs less to make."""
        return ()

    def start(self, servers: Sequence[Server]) -> None:
        """Take over a service that has servers already, newest first; called before all else."""
        if type(self).start is Scheduler.start:
            for _ in self.starting(servers):
                pass
        else:  # called by the one that overrides it, which `starting` calls
            for server in reversed(servers):
                self.add(server)

    def starting(self, servers: Sequence[Server]) -> Iterator[None]:
        """Do so step by step. Between two steps packets may be handled, by the scheduler before.

        It is told then, by `changed`, of servers that it may not have taken in yet. One that
        overrides `start` alone takes them in one step.
        """
        if type(self).start is not Scheduler.start:
            self.start(servers)
            return
        for server in reversed(servers):
            self.add(server)
            yield

    @abstractmethod
    def add(self, server: Server) -> None:
        """Take in a new server, at the head of the list."""

    @abstractmethod
    def remove(self, server: Server) -> None:
        """Let go of a server."""

    @abstractmethod
    def pick(self, flow: Flow, now: float) -> Server | None:
        """Return the server for a new connection, or None when no server is usable."""

    def weigh(self, flow: Flow, now: float) -> list[Weighed]:  # noqa: ARG002 - as `pick`'s
        """Return what each server stands for in the next pick, in the order that decides ties.

        `pick`, called next with the same arguments, returns the first one of least ``number``,
        None when no server has a number. Nothing is changed by asking. Empty: this scheduler
        does not say.
        """
        return []

    def position(self) -> tuple[int, ...]:
        """Return where it stands in its turn, as three numbers of 32 bits at most, for `resume`.

        Empty: its picks follow from the servers and their counts.
        """
        return ()

    def resume(self, position: Sequence[int]) -> None:  # noqa: B027 - same reason as `hold`
        """Go on where another one stood that had the same servers, with the same weights.

        Raise ValueError where that is no position, and then change nothing.
        """

    def hold(self) -> None:  # noqa: B027 - nothing to do is a right answer
        """Know that changes come, up to `settling`; meanwhile picks may go by what was before."""

    def settling(self) -> Iterator[None]:
        """Work out what picks need after all the changes, step by step; they go by it at the end.

        Where nobody asks for that, a pick has to do it at once. Meant for what takes milliseconds.
        """
        return iter(())

    def edit(self, server: Server) -> None:  # noqa: B027 - nothing to do is a right answer
        """Take notice of a server's new weight or thresholds."""

    def changed(self, server: Server) -> None:  # noqa: B027 - same reason
        """Take notice of a server's new connection counts or overload flag."""

    def tick(self, now: float) -> None:  # noqa: B027 - same reason
        """Do periodic work; called about once a second."""
