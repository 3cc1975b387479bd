"""An engine's state, kept in a file for the engine after it, which goes on with the connections.

Where it cannot be kept, the engine works without, and says so.
"""

from __future__ import annotations

import errno
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.core.keeper import Keeper
from lvsd.core.resuming import Resumption
from lvsd.engine.slices import Slices
from lvsd.errors import KernelError
from lvsd.io.private_files import UntrustedError
from lvsd.io.state_file import StateFile
from lvsd.running.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvsd.core.balancer import Balancer
    from lvsd.core.commands import Changes, Drain
    from lvsd.running.complaints import Complaints
    from lvsd.turns import Turns

KEEP_S: Final = 2.0
"""How often counters and turns are written down."""

RESTS: Final = 10
"""For how many times as long as a look at all servers took there is none."""

LEARN_S: Final = 30.0
"""How often what translations learn of each acknowledgement is written down."""

FINISH_S: Final = 3.0
"""How long a stop writes at most, in seconds."""

KEEPING: Final = "cannot write down the state that a restart goes on with"

TAKING_IN: Final = "cannot take in all connections of the lvsd before"

_ROOM: Final = "make room there: new connections are not kept for a restart meanwhile"

log = structlog.get_logger("lvsd")


class State:
    """The state of ``balancer`` in the file at ``path``; nothing is kept without a path."""

    def __init__(self, path: str, balancer: Balancer, turns: Turns, complaints: Complaints) -> None:
        self._path = Path(path) if path else None
        self._balancer = balancer
        self._file: StateFile | None = None
        self._keeper: Keeper | None = None
        self._learn_next = 0.0
        self._is_reading = False
        """Whether to read the file was begun and not ended, neither by an error."""
        self._resumption: Resumption | None = None
        self._told: Counter[str] = Counter()
        """What was told of connections that were dropped."""
        self._keeping = Slices(self._steps, turns, complaints, KEEPING, rests=RESTS)
        self._taking_in = Slices(self._rest, turns, complaints, TAKING_IN)
        self.job = Job(KEEPING, lambda _: self._keep(), KEEP_S)
        """What is to be done now and then."""

    def open(self) -> None:
        """Open the file. Where that cannot be, say so and go on without."""
        if self._path is None:
            return
        try:
            self._file = StateFile.open(self._path)
        except BlockingIOError:
            self._do_without("another lvsd has it")
        except OSError as error:
            self._do_without(error.strerror or str(error))
        except UntrustedError as error:
            self._do_without(str(error))

    def _do_without(self, why: str) -> None:
        log.warning("connections are not kept for a restart", why=why, file=str(self._path or ""))

    def close(self) -> None:
        """Let go of the file."""
        self._keeping.stop()
        self._taking_in.stop()
        if self._keeper is not None:
            self._balancer.flows.observers.remove(self._keeper)
            self._keeper = None
        if self._file is not None:
            if self._is_reading:
                self._file.end_reading()
            self._file.close()
            self._file = None

    # --- at the start -----------------------------------------------------------------------------

    def resuming(self) -> Iterator[None]:
        """Take in what the file has, and write down what happens from then on, step by step.

        Connections that are pending then are taken in later, in the background.
        """
        file, balancer = self._file, self._balancer
        if file is None:
            return
        keeper = Keeper(balancer.flows, balancer.services, file)
        resumption = Resumption(balancer, keeper, file)
        records = file.begin_reading()
        self._is_reading = True
        try:
            yield
            yield from resumption.steps(records, time.monotonic())
        except Exception:
            self._is_reading = False  # it counts as a try: the next engine may fail at the same
            raise
        balancer.flows.observers.add(keeper)
        self._is_reading = False
        file.end_reading()
        self._keeper, self._resumption = keeper, resumption
        self._say(file, resumption)
        self._taking_in.soon()

    @property
    def drains(self) -> Sequence[Drain]:
        """Those that the file had, and nobody wanted here before; there until all is taken in."""
        return self._resumption.drains if self._resumption is not None else ()

    def _rest(self) -> Iterator[None]:
        """Take in what is pending, step by step."""
        if self._resumption is not None:
            yield from self._resumption.rest()
            self._say_dropped(self._resumption)
            self._resumption = None

    async def all_taken_in(self) -> None:
        """Wait until nothing is pending."""
        await self._taking_in.done()

    def _say(self, file: StateFile, resumption: Resumption) -> None:
        if file.was_fatal:
            log.warning("dropped a connection: two engines in a row ended while they took it in")
        if file.is_foreign:
            log.warning("the state of an earlier lvsd was dropped", why=file.why_empty)
        elif file.why_empty:
            log.info("starting without connections", why=file.why_empty)
        else:
            log.info(
                "connections of the lvsd before go on",
                connections=resumption.connections,
                templates=resumption.templates,
            )
        self._say_dropped(resumption)

    def _say_dropped(self, resumption: Resumption) -> None:
        """Say how many could not go on, unless that was said."""
        dropped = resumption.dropped - self._told
        if dropped:
            self._told = resumption.dropped.copy()
            log.warning("connections of the lvsd before were dropped", **_by_reason(dropped))

    # --- at work ----------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Begin to write, make room ahead, tell of observers that failed. Raise KernelError."""
        if self._file is None:
            return
        self._keeping.soon()
        if self._resumption is not None and not self._taking_in.busy:  # it failed
            self._taking_in.soon()
        observers = self._balancer.flows.observers
        if observers.fault is not None:
            fault, observers.fault = observers.fault, None
            raise KernelError(KEEPING, str(fault) or type(fault).__name__, "report this")
        self._keep_room()

    def _keep_room(self) -> None:
        """Make room ahead. Raise KernelError where there is none, or no file any more."""
        if self._file is None:
            return
        try:
            self._file.look()
        except OSError as error:
            remedy = _ROOM if error.errno == errno.ENOSPC else "see the limits of lvsd"
            raise KernelError(f"grow {self._path}", error, remedy) from error
        if self._file.is_removed:
            remedy = "restart lvsd when it has few connections: they do not outlive that"
            raise KernelError(f"keep {self._path}", "somebody removed it", remedy)

    def changed(self, changes: Changes) -> None:
        """Write down at once what cannot wait of changes: who is drained, who begins slowly."""
        if self._keeper is not None:
            self._keeper.keep_transitions(changes.all)

    def _steps(self) -> Iterator[None]:
        """Write down what changes all the time, step by step."""
        if self._keeper is None:
            return
        yield from self._keeper.keeping()
        file = self._file
        if file is not None and file.missed and file.refusal is None:
            file.missed = 0
            yield from self._keeper.catching_up()
        now = time.monotonic()
        if now >= self._learn_next:
            self._learn_next = now + LEARN_S
            yield from self._keeper.keeping_memories()

    def unkept(self, connections: int) -> int:
        """Return how many of so many connections the next engine may not find; 0: none of them."""
        if self._path is None or not connections:
            return 0
        if self._file is None or self._file.is_removed:
            return connections
        return min(self._file.missed, connections)

    # --- at the end -------------------------------------------------------------------------------

    def finish(self) -> bool:
        """Write down all of it, but for what takes too long; return whether the next one has it.

        So it has what is still being read: the records stay where they are.
        """
        if self._keeper is None:
            return self._is_reading
        enough = time.monotonic() + FINISH_S
        for steps in (self._keeper.keeping(), self._keeper.keeping_memories()):
            for _ in steps:
                if time.monotonic() >= enough:
                    break
        return True


def _by_reason(reasons: Counter[str]) -> dict[str, object]:
    return {
        "connections": reasons.total(),
        "why": "; ".join(f"{count}: {why}" for why, count in reasons.most_common()),
    }
