"""When which server is asked: rounds of probes, thousands of them on one event loop.

Each server is asked again an interval after it was asked last, a tenth more or less by chance, so
that servers that came together are not asked together for ever. While the last results speak
against the judgement, it is asked after the shorter interval. At most `AT_ONCE` are being asked at
a time; more wait for their turn, and are counted: the machine cannot keep up then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

from lvsd.health.probing import UnknownError, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.health.base import Check, Target
    from lvsd.health.judge import Judge
    from lvsd.health.probing import Result

AT_ONCE: Final = 512
"""How many servers are asked at a time; each has a socket open."""

JITTER: Final = 0.1
"""By what part of an interval chance makes it longer or shorter."""

START_AT: Final = 2000.0
"""How many servers that are new are asked a second, at first."""


class Patient:
    """A server that is asked again and again: how, how often, and what is known of it.

    Times are in seconds. ``last`` is what the last probe found, ``trouble`` why there was none
    since, if it could not be made. ``due`` is when the next one is, on the loop's clock. ``handle``
    and ``task`` are `Rounds`' own: what waits, and what is under way.
    """

    __slots__ = (
        "check",
        "due",
        "fast_interval_s",
        "handle",
        "interval_s",
        "judge",
        "last",
        "target",
        "task",
        "timeout_s",
        "trouble",
    )

    def __init__(
        self,
        check: Check,
        target: Target,
        judge: Judge,
        interval_s: float,
        fast_interval_s: float,
        timeout_s: float,
    ) -> None:
        self.check = check
        self.target = target
        self.judge = judge
        self.interval_s = interval_s
        self.fast_interval_s = fast_interval_s
        self.timeout_s = timeout_s
        self.last: Result | None = None
        self.trouble = ""
        self.due = 0.0
        self.handle: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def wait_s(self) -> float:
        """How long it is until the next probe, without chance."""
        return self.fast_interval_s if self.judge.is_changing else self.interval_s


class Rounds:
    """Asks patients. ``found`` is told each result; ``unknown`` why one could not be asked.

    ``random`` decides about times, and nothing else.
    """

    def __init__(
        self,
        found: Callable[[Patient, Result], None],
        unknown: Callable[[BaseException], None],
        random: Random | None = None,
    ) -> None:
        self._found = found
        self._unknown = unknown
        self._random = random or Random()  # noqa: S311 - of times, no secrets
        self._loop = asyncio.get_running_loop()
        self._asking = 0
        self._waiting: deque[Patient] = deque()
        self._patients: set[Patient] = set()
        self.asked = 0
        """How many probes there were."""
        self.late = 0
        """How many of them had to wait for others."""

    def __len__(self) -> int:
        return len(self._patients)

    def add(self, patient: Patient) -> None:
        """Ask a server from now on, the first time soon."""
        self._patients.add(patient)
        most = min(patient.interval_s, len(self._patients) / START_AT)
        self._plan(patient, self._random.random() * most)

    def remove(self, patient: Patient) -> None:
        """Ask it no longer, and give up what is under way."""
        self._patients.discard(patient)
        if patient.handle is not None:
            patient.handle.cancel()
        if patient.task is not None:
            patient.task.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for patient in tuple(self._patients):
            self.remove(patient)
        self._waiting.clear()

    async def now(self, patient: Patient) -> Result:
        """Ask it once, beside its rounds; that counts, too. Raise UnknownError."""
        result = await self._ask(patient)
        if patient in self._patients:
            self._found(patient, result)
        return result

    def _plan(self, patient: Patient, wait_s: float) -> None:
        patient.due = self._loop.time() + wait_s
        patient.handle = self._loop.call_at(patient.due, self._begin, patient)

    def _begin(self, patient: Patient) -> None:
        if self._asking >= AT_ONCE:
            self.late += 1
            self._waiting.append(patient)
            return
        self._asking += 1
        patient.task = self._loop.create_task(self._turn(patient))

    async def _turn(self, patient: Patient) -> None:
        try:
            result = await self._ask(patient)
        except UnknownError as error:
            self._unknown(error.__cause__ or error)
        else:
            self._found(patient, result)
        finally:
            patient.task = None
            self._asking -= 1
            self._next()
            if patient in self._patients:
                self._plan_next(patient)

    def _plan_next(self, patient: Patient) -> None:
        chance = 1 + JITTER * (2 * self._random.random() - 1)
        due = patient.due + patient.wait_s * chance
        self._plan(patient, max(0.0, due - self._loop.time()))

    async def _ask(self, patient: Patient) -> Result:
        self.asked += 1
        try:
            patient.last = await ask(patient.check, patient.target, patient.timeout_s)
        except UnknownError as error:
            patient.trouble = str(error)
            raise
        patient.trouble = ""
        return patient.last

    def _next(self) -> None:
        """Let those that wait have their turn."""
        while self._waiting and self._asking < AT_ONCE:
            patient = self._waiting.popleft()
            if patient in self._patients:
                self._asking += 1
                patient.task = self._loop.create_task(self._turn(patient))
