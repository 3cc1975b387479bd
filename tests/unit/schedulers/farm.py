"""A few named servers behind one scheduler, for the unit tests to drive."""

from __future__ import annotations

from ipaddress import ip_address

from schedulers import load
from schedulers.base import Flow, Server


class Farm:
    """Servers A, B, C ..., added in the order given, and the scheduler that picks them."""

    def __init__(self, scheduler: str, *flags: str, **weights: int) -> None:
        self.scheduler = load(scheduler)(frozenset(flags))
        self.servers: dict[str, Server] = {}
        for name, weight in weights.items():
            self.add(name, weight)

    def add(self, name: str, weight: int) -> None:
        """Let a server join; A has 10.0.0.1, B 10.0.0.2, and port 80."""
        server = Server(bytes((10, 0, 0, ord(name) - ord("A") + 1)), 80, weight)
        self.servers[name] = server
        self.scheduler.add(server)

    def remove(self, name: str) -> None:
        """Let a server leave."""
        self.scheduler.remove(self.servers.pop(name))

    def weigh(self, name: str, weight: int) -> None:
        """Give a server another weight."""
        self.servers[name].set_weight(weight)
        self.scheduler.edit(self.servers[name])

    def overload(self, name: str) -> None:
        """Let a server reach its upper threshold by one inactive connection."""
        server = self.servers[name]
        server.set_thresholds(server.total + 1, 0)
        self.scheduler.edit(server)
        server.open()
        self.scheduler.changed(server)

    def relieve(self, name: str) -> None:
        """Let a server that `overload` filled lose that connection."""
        self.servers[name].close()
        self.scheduler.changed(self.servers[name])

    def finish(self, name: str) -> None:
        """End an active connection of a server."""
        server = self.servers[name]
        server.deactivate()
        server.close()
        self.scheduler.changed(server)

    def pick(
        self,
        client: str = "203.0.113.7",
        port: int = 40000,
        destination: str = "192.0.2.1",
        now: float = 0.0,
    ) -> str:
        """Return the name of the server picked, ``-`` for nobody."""
        flow = Flow(ip_address(client).packed, port, ip_address(destination).packed, 80)
        picked = self.scheduler.pick(flow, now)
        names = [name for name, server in self.servers.items() if server is picked]
        return names[0] if picked else "-"

    def connect(
        self, client: str = "203.0.113.7", destination: str = "192.0.2.1", now: float = 0.0
    ) -> str:
        """Pick, open a connection to the server and make it active."""
        name = self.pick(client, destination=destination, now=now)
        if name != "-":
            server = self.servers[name]
            server.open()
            server.activate()
            self.scheduler.changed(server)
        return name

    def picks(self, count: int) -> str:
        """Return the names of so many picks in a row."""
        return "".join(self.pick() for _ in range(count))

    def connects(self, count: int) -> str:
        """Return the names of so many connections in a row, all of them staying active."""
        return "".join(self.connect() for _ in range(count))
