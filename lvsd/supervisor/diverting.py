"""Keep diverted what the engine says has to be, whatever becomes of the ruleset meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.running.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.io.divert import Divert
    from lvsd.io.ruleset import Diverted
    from lvsd.io.ruleset_watch import RulesetWatch
    from lvsd.running.jobs import Jobs


class Diverting:
    """Diverts from `up` to `end` all that is ``wanted`` of the engine by then.

    What the kernel refuses is tried again every second, by the ``job``.
    """

    def __init__(
        self, divert: Divert, ruleset: RulesetWatch, wanted: Callable[[], Diverted]
    ) -> None:
        self._divert = divert
        self._ruleset = ruleset
        self._wanted = wanted
        self._is_up = False
        self._is_stale = True
        """What is diverted may be other than what has to be."""
        self.job = Job("cannot keep packets diverted", self._look)

    def up(self) -> None:
        """Begin. Raise KernelError."""
        self._divert.up(self._wanted())
        self._is_up, self._is_stale = True, False

    def end(self) -> None:
        """Take in nothing any more: it is about to be taken down."""
        self._is_up = False

    def follow(self, more: Diverted | None, jobs: Jobs) -> None:
        """Divert this as well; None: something has to be diverted no longer."""
        if more is not None and self._is_up and not self._is_stale:
            with suppress(KernelError):
                self._divert.add(more)
                return
        self._is_stale = True
        if self._is_up:
            jobs.attempt(self.job)

    def _look(self, _now: float) -> None:
        """Divert what has to be by now, and see that the tables stand. Raise KernelError."""
        if self._is_stale:
            self._divert.update(self._wanted())
            self._is_stale = False
        self._ruleset.check()
