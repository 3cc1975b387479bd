"""Periodic jobs, each with a policy of its own for when it fails. None can stop another.

==========  ==================================================================================
policy      what a failure does
==========  ==================================================================================
retry       it is logged, and the job is tried again when it is due next
degrade     the same, and ``instead`` is called: the part of the job that can still be done
end         the same, until the job has failed ``endures`` times in a row: its error is raised
==========  ==================================================================================

How often a failure is logged is the business of `Complaints`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lvsd.running.complaints import Complaints

TURN_S: Final = 1.0
"""How often to look which jobs are due."""


@dataclass(slots=True)
class Job:
    """Something to do every ``every_s`` seconds; ``run`` and ``instead`` are handed the time."""

    complaint: str
    """What the log says when it fails, a sentence without a full stop."""
    run: Callable[[float], object]
    every_s: float = TURN_S
    instead: Callable[[float], object] | None = None
    endures: int | None = None
    """Failures in a row after which its error is raised; None: it is tried for ever."""
    due: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)
    """How many there were in a row, up to now."""


class Jobs:
    """Runs jobs when they are due; packets have their turn between one and the next."""

    def __init__(
        self, jobs: Iterable[Job], complaints: Complaints, clock: Callable[[], float]
    ) -> None:
        self._jobs = tuple(jobs)
        self._complaints = complaints
        self._clock = clock

    async def run(self, pause_s: float = TURN_S) -> NoReturn:
        """Look every ``pause_s`` seconds what is due. Raise what a job may not go on after."""
        while True:
            await asyncio.sleep(pause_s)
            for job in self._jobs:
                if self._clock() >= job.due:
                    self.attempt(job)
                    await asyncio.sleep(0)

    def attempt(self, job: Job) -> object:
        """Do a job now and return what it returns, None if it fails; deal with the failure."""
        now = self._clock()
        job.due = now + job.every_s
        try:
            result = job.run(now)
        except Exception as error:
            job.failures += 1
            if job.endures is not None and job.failures >= job.endures:
                raise
            self._complaints.fault(job.complaint, error)
            if job.instead is not None:
                job.instead(now)
            return None
        if job.failures:
            job.failures = 0
            self._complaints.over(job.complaint)
        return result
