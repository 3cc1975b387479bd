"""How a real server stands: whether its service has it, whether it is drained, whether it is well.

Only the door for changes (`lvsd.core.apply`) makes that otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core.values import Health
from schedulers.base import Server

if TYPE_CHECKING:
    from lvsd.core.draining import Draining

_SERVING: Final = frozenset({Health.UP, Health.STANDBY})
"""With these all existing connections go on."""


class Standing(Server):
    """A server for which the packet path asks that.

    ``available`` is True while its service has it; connections may point at it longer. ``drain``
    says that it is being drained, ``health`` what checks make of it. ``is_serving``: all its
    connections simply go on, which is all that the packet path looks at of most packets. Where it
    is False the others say what becomes of them.
    """

    __slots__ = ("available", "drain", "health", "is_serving")

    def __init__(self, address: bytes, port: int, weight: int, upper: int, lower: int) -> None:
        super().__init__(address, port, weight, upper, lower)
        self.available = self.is_serving = False
        self.drain: Draining | None = None
        self.health = Health.UP

    @property
    def leaving(self) -> bool:
        """Whether it is drained or not up: its weight is 0, and its clients go elsewhere."""
        return self.drain is not None or self.health is not Health.UP

    @property
    def is_gone(self) -> bool:
        """Whether clients' packets do not get there: it was removed, or is as good as that."""
        return not self.available or self.health is Health.REMOVED

    def set_health(self, health: Health) -> None:
        """Be what checks make of it from now on; its weight is another then."""
        self.health = health
        self.is_serving = self.available and health in _SERVING

    def set_available(self, available: bool) -> None:  # noqa: FBT001 - what it is from now on
        """Be one that its service has, or one that it has no longer."""
        self.available = available
        self.is_serving = available and self.health in _SERVING
