"""A third party's scheduler: the oldest server takes everything."""

from __future__ import annotations

from schedulers.base import Flow, Scheduler, Server

NUMBER = 7


class First(Scheduler):
    """Picks the server that was added first."""

    name = "first"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self._servers: list[Server] = []

    def add(self, server: Server) -> None:
        """Take in a new server."""
        self._servers.append(server)

    def remove(self, server: Server) -> None:
        """Forget a server."""
        self._servers.remove(server)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - age decides
        """Return the oldest server."""
        return self._servers[0] if self._servers else None


class Unfinished(Scheduler):
    """Lacks everything."""

    name = "unfinished"
