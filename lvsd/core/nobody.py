"""What a service schedules by once it was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulers.base import Scheduler

if TYPE_CHECKING:
    from schedulers.base import Flow, Server


class Nobody(Scheduler):
    """The scheduler of a service that was removed: there is nothing to pick."""

    name = "nobody"

    def add(self, server: Server) -> None:
        """Take in nobody."""

    def remove(self, server: Server) -> None:
        """Let go of nobody."""

    def pick(self, flow: Flow, now: float) -> None:
        """Return nobody."""
