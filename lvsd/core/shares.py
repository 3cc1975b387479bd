"""What each service has of the connection table, and what is kept for it."""

from __future__ import annotations

from typing import Any

from lvsd.core.timers import Wheel


class Share:
    """What one service has of the table.

    ``entries`` are its connections and templates, ``reserved`` how many no other service can keep
    it from. ``opening`` has those connections that are still opening. ``evicted`` counts entries
    that it had to give up, ``refused`` new connections that found no room.
    """

    __slots__ = ("entries", "evicted", "opening", "refused", "reserved")

    def __init__(self) -> None:
        self.entries = 0
        self.reserved = 0
        self.opening: Wheel[Any] = Wheel(0.0)
        self.evicted = 0
        self.refused = 0

    @property
    def unused(self) -> int:
        """How many of its reserved entries it does not have."""
        return max(0, self.reserved - self.entries)


class Shares:
    """The shares of all services: ``unused`` is what is reserved and not taken, of all of them.

    ``opening`` are the shares that have opening connections, as an ordered set.
    """

    __slots__ = ("opening", "unused")

    def __init__(self) -> None:
        self.unused = 0
        self.opening: dict[Share, None] = {}

    def reserve(self, share: Share, entries: int) -> None:
        """Keep so many entries for a share, instead of what was kept for it."""
        self.unused -= share.unused
        share.reserved = entries
        self.unused += share.unused

    def take(self, share: Share) -> None:
        """Count one entry more."""
        if share.entries < share.reserved:
            self.unused -= 1
        share.entries += 1

    def take_many(self, share: Share, entries: int) -> None:
        """Count so many entries more, at once."""
        self.unused -= share.unused
        share.entries += entries
        self.unused += share.unused

    def give_back(self, share: Share) -> None:
        """Count one entry less."""
        share.entries -= 1
        if share.entries < share.reserved:
            self.unused += 1
