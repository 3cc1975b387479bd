"""A scheduler with its real servers: what a service does around them, and nothing else."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from lvsd.errors import PluginError
from schedulers.base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedulers.base import Flow, Scheduler

NETWORK: Final = int(ipaddress.IPv4Address("10.0.0.0"))
PORT: Final = 8080


def address(number: int) -> bytes:
    """Return the packed address of a real server; the first has number 1."""
    return (NETWORK + number).to_bytes(4, "big")


class Farm:
    """Servers by their places, 0 to n - 1, added in this order; weights stay as they are."""

    def __init__(self, scheduler: Scheduler, weights: Sequence[int]) -> None:
        self.scheduler = scheduler
        self.weights = tuple(weights)
        self.servers: list[Server] = []
        self._places: dict[Server, int] = {}
        for place in range(len(weights)):
            self.servers.append(self._server(place))
            self._join(place)

    def connect(self, flow: Flow, now: float) -> int | None:
        """Let a client open a connection; return the server's place, or None if it is refused.

        Raise PluginError when the scheduler picks what is no server of the service.
        """
        server = self.scheduler.pick(flow, now)
        if server is None:
            return None
        place = self._places.get(server) if isinstance(server, Server) else None
        if place is None:
            raise PluginError(f"pick returned {_description(server)}")
        server.open()
        server.activate()
        self.scheduler.changed(server)
        return place

    def end(self, server: Server) -> None:
        """Let an active connection end; it is inactive from now on."""
        if server in self._places:
            server.deactivate()
            self.scheduler.changed(server)

    def close(self, server: Server) -> None:
        """Forget an inactive connection."""
        if server in self._places:
            server.close()
            self.scheduler.changed(server)

    def remove(self, place: int) -> None:
        """Let a server fail: it leaves, and its connections are forgotten."""
        server = self.servers[place]
        del self._places[server]
        self.scheduler.remove(server)

    def restore(self, place: int) -> None:
        """Let a server that was removed join again, without connections."""
        self.servers[place] = self._server(place)
        self._join(place)

    def is_in(self, place: int) -> bool:
        """Tell whether a server has not been removed."""
        return self.servers[place] in self._places

    def _server(self, place: int) -> Server:
        return Server(address(1 + place), PORT, self.weights[place])

    def _join(self, place: int) -> None:
        server = self.servers[place]
        self._places[server] = place
        self.scheduler.add(server)


def _description(server: object) -> str:
    if isinstance(server, Server):
        host = ipaddress.ip_address(server.address)
        return f"{host} port {server.port}, a server that was never added or is removed by now"
    return f"{type(server).__name__} where it has to be a server, or None"
