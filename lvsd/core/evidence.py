"""Whether a real server answers: what was seen lately, not whether it ever did.

Evidence that speaks of now has to be able to go back. Here each new fact puts an end to the older
ones: an answer to waiting and refusals, a pause of a minute to a row of refusals. The samples cost
the packet path nothing: they compare counters that it keeps anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAUSE_S: Final = 60.0
"""Seconds without a refusal, after which the next one is the first of a new row."""


@dataclass(slots=True)
class Hearing:
    """When something was last heard of a real server. Times are the director's, in seconds.

    ``heard_at`` is the last sample before which it had sent a packet through the director,
    ``waiting_since`` the first one since then that saw a new connection (None: there was none),
    ``tried_at`` the last one that did.
    """

    heard_at: float | None = None
    waiting_since: float | None = None
    tried_at: float = 0.0
    _out_packets: int = 0
    _connections: int = 0
    _heard_connections: int = 0

    def sample(self, connections: int, out_packets: int, now: float) -> None:
        """Take in the counters, which only grow."""
        if connections != self._connections:
            self._connections, self.tried_at = connections, now
        if out_packets != self._out_packets:
            self._out_packets = out_packets
            self._heard_connections = connections
            self.heard_at, self.waiting_since = now, None
        elif self.waiting_since is None and connections != self._heard_connections:
            self.waiting_since = now

    def go_on(self, connections: int, out_packets: int) -> None:
        """Go on from somebody else's counters, of which nothing is known but how they stand."""
        self._connections = self._heard_connections = connections
        self._out_packets = out_packets

    def waiting(self, connections: int, out_packets: int) -> int:
        """Return how many connections began since it was last heard, as of now."""
        if out_packets != self._out_packets:
            return 0
        return connections - self._heard_connections


@dataclass(slots=True)
class Refusals:
    """Refusals in a row: ``count`` of them, the last one at ``last``, in the director's seconds.

    ``port`` is the server's port that refused it, which clients choose where any is served.
    """

    count: int = 0
    last: float = 0.0
    port: int = 0

    def note(self, port: int, now: float) -> None:
        """Count that a connection to ``port`` was refused, after a pause as the first of a row."""
        if now - self.last > PAUSE_S:
            self.count = 0
        self.count += 1
        self.last = now
        self.port = port
