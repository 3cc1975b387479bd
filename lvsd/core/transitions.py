"""What time changes of real servers: those that are drained, and those that begin slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.drains import Drains
from lvsd.core.ramps import Ramps

if TYPE_CHECKING:
    from lvsd.core.flows import Flows
    from lvsd.core.service import RealServer


class Transitions:
    """All servers on their way out, or in. ``is_held`` in the course of a change.

    What a list of commands changes may still be taken back, exactly; so nothing moves meanwhile.
    """

    __slots__ = ("drains", "is_held", "ramps")

    def __init__(self, flows: Flows) -> None:
        self.drains = Drains(flows)
        self.ramps = Ramps()
        self.is_held = False

    def begin(self, server: RealServer, now: float) -> None:
        """Let the time of a server begin that is drained, or begins slowly, since this list."""
        self.drains.begin(server, now)
        self.ramps.begin(server, now)

    def tick(self, now: float) -> bool:
        """Do what is due by ``now``; return whether there is more."""
        if self.is_held:
            return False
        more = self.ramps.tick(now)
        return self.drains.tick(now) or more
