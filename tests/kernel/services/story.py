"""The vocabulary of stories about services: an operator, clients and servers, one step a line.

A story is told for a way: an IP version, a protocol and how requests are forwarded. Each has a
virtual address of its own, since a service that comes back finds the servers that an earlier one
left. The operator looks at everything after every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.kernel import packets
from tests.kernel.histories import REUSED_S
from tests.kernel.rig import server_address
from tests.kernel.scenario import (
    SCTP,
    TCP,
    UDP,
    Change,
    Look,
    Operation,
    RealServer,
    Scenario,
    Send,
    Side,
    Sysctl,
    Timeouts,
    VirtualService,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
OPENING = {TCP: "S", UDP: "", SCTP: "INIT"}
"""What a connection begins with."""

CHUNKS = {
    "DATA": 0,
    "INIT": 1,
    "INIT-ACK": 2,
    "ABORT": 6,
    "SHUTDOWN": 7,
    "SHUTDOWN-ACK": 8,
    "COOKIE-ECHO": 10,
    "COOKIE-ACK": 11,
    "SHUTDOWN-COMPLETE": 14,
}
HANDSHAKE = {TCP: ("S", "A"), UDP: ("",), SCTP: ("INIT", "COOKIE-ECHO")}
"""What a client says until its connection is established, where replies bypass the director."""

RPORT = 8080
GONE_S = 1.5
"""With expire_nodest_conn the connections of a removed server have ended after this."""


class Way(NamedTuple):
    """How packets come, and how they go on."""

    version: int
    protocol: int
    forward: str

    def __str__(self) -> str:
        return f"{NAMES[self.protocol]} over IPv{self.version} by {self.forward}"


def packet(
    what: str, protocol: int, source: tuple[str, int], destination: tuple[str, int]
) -> bytes:
    """Return a packet; ``what`` is TCP's flags, or SCTP's chunks joined by ``+``."""
    ends = *source, *destination
    if protocol == TCP:
        return packets.tcp(*ends, what)
    if protocol == UDP:
        return packets.udp(*ends)
    chunks = b"".join(packets.chunk(CHUNKS[name]) for name in what.split("+"))
    return packets.sctp(*ends, chunks)


@dataclass
class Story:
    """A story that is being told; ``number`` makes its virtual address."""

    way: Way
    number: int
    operations: list[Operation] = field(default_factory=list)

    @property
    def vip(self) -> str:
        """The virtual address."""
        return self.address(self.number)

    @property
    def settled(self) -> str:
        """What a packet of a connection that has been there for a while is."""
        return {TCP: "A", UDP: "", SCTP: "DATA"}[self.way.protocol]

    def address(self, number: int) -> str:
        """Return one of all virtual addresses."""
        return f"192.0.2.{number}" if self.way.version == 4 else f"2001:db8:f::{number:x}"

    def client(self, number: int) -> str:
        """Return the address of a client; those from 256 on are in another network."""
        if self.way.version == 4:
            return f"203.0.{113 + number // 256}.{number % 256}"
        return f"2001:db8:c:{number // 256:x}::{number % 256:x}"

    # --- the operator -----------------------------------------------------------------------

    def note(self, operation: Operation) -> None:
        """Let something happen."""
        self.operations.append(operation)

    def look(self) -> None:
        """Let the operator look at everything."""
        self.note(Look())

    def _do(self, operation: Operation) -> None:
        self.note(operation)
        self.look()

    def serve(
        self,
        vport: int = 80,
        *,
        mark: int = 0,
        servers: int = 3,
        server: Any = None,
        **options: Any,
    ) -> VirtualService:
        """Add a service with so many real servers. ``server`` is what all of them have."""
        by: dict[str, Any] = {"address": self.vip, "port": vport, "protocol": self.way.protocol}
        if mark:
            by = {"fwmark": mark, "version": self.way.version}
        service = VirtualService(**by | {"scheduler": "rr"} | options)
        self._do(Change("add", service))
        for number in range(1, servers + 1):
            self.add(service, number, **server or {})
        return service

    def keep_looking(self) -> None:
        """Have a service that stays: without any the kernel would look at no packet at all."""
        self.serve(9, servers=0)

    def edit_service(self, service: VirtualService, **changes: Any) -> VirtualService:
        """Edit a service; return it as it is now."""
        edited = replace(service, **changes)
        self._do(Change("edit", edited))
        return edited

    def remove_service(self, service: VirtualService) -> None:
        """Remove a service with its servers."""
        self.note(Change("remove", service))
        self.wait(GONE_S)

    def _server(self, service: VirtualService, number: int, options: dict[str, Any]) -> RealServer:
        forward = options.get("forward", self.way.forward)
        port = RPORT if forward == "nat" and service.port else service.port
        given = {"port": port, "forward": forward} | options
        return RealServer(server_address(number, self.way.version), **given)

    def add(self, service: VirtualService, number: int, **options: Any) -> None:
        """Add a real server."""
        self._do(Change("add", service, self._server(service, number, options)))

    def edit(self, service: VirtualService, number: int, **options: Any) -> None:
        """Edit a real server; what is not given is at its default."""
        self._do(Change("edit", service, self._server(service, number, options)))

    def remove(self, service: VirtualService, number: int, **options: Any) -> None:
        """Remove a real server."""
        self.note(Change("remove", service, self._server(service, number, options)))
        self.wait(GONE_S)

    def set(self, name: str, value: int) -> None:
        """Set a sysctl."""
        self._do(Sysctl(name, value))

    def time_out(self, tcp_s: int = 0, tcp_fin_s: int = 0, udp_s: int = 0) -> None:
        """Change timeouts."""
        self._do(Timeouts(tcp_s, tcp_fin_s, udp_s))

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self._do(Wait(seconds))

    # --- clients and servers ----------------------------------------------------------------

    def send(
        self,
        what: str,
        client: int = 1,
        *,
        cport: int = 40000,
        vport: int = 80,
        mark: int = 0,
        vip: int = 0,
        protocol: int = 0,
    ) -> None:
        """Let a client send a packet; one that ends a connection has done so in a moment."""
        destination = self.address(vip or self.number), vport
        source = self.client(client), cport
        data = packet(what, protocol or self.way.protocol, source, destination)
        self.note(Send(Side.CLIENT, data, mark))
        self.wait(REUSED_S)

    def open(self, client: int = 1, **ends: Any) -> None:
        """Let a client open a connection."""
        self.send(OPENING[ends.get("protocol", self.way.protocol)], client, **ends)

    def establish(self, client: int = 1, **ends: Any) -> None:
        """Let a client open a connection, and go on with it."""
        for what in HANDSHAKE[self.way.protocol]:
            self.send(what, client, **ends)

    def answer(
        self,
        server: int,
        what: str = "",
        client: int = 1,
        *,
        cport: int = 40000,
        rport: int = RPORT,
    ) -> None:
        """Let a real server answer a client, through the director."""
        source = server_address(server, self.way.version), rport
        data = packet(what, self.way.protocol, source, (self.client(client), cport))
        self.note(Send(Side.SERVER, data))
        self.wait(REUSED_S)


class Told(NamedTuple):
    """A story that can be told: what it is about, in which ways, and how it goes."""

    feature: str
    ways: tuple[Way, ...]
    tell: Callable[[Story], None]

    @property
    def sentence(self) -> str:
        """What happens."""
        return self.tell.__name__.replace("_", " ")


class Book:
    """Stories of some features, in the order in which they are written down."""

    def __init__(self) -> None:
        self.stories: list[Told] = []

    def __iter__(self) -> Iterator[Told]:
        return iter(self.stories)

    def about(
        self, feature: str, *ways: Way
    ) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
        """Take in a story; its name is a sentence."""

        def take_in(tell: Callable[[Story], None]) -> Callable[[Story], None]:
            self.stories.append(Told(feature, ways, tell))
            return tell

        return take_in


def scenario(told: Told, way: Way, number: int, every: int = 1) -> Scenario:
    """Return a story as it goes in one way; of the operator's looks only each of so many."""
    story = Story(way, number)
    told.tell(story)
    *operations, last = story.operations
    looks = count(number)
    kept = [each for each in operations if not isinstance(each, Look) or not next(looks) % every]
    return Scenario(f"{told.sentence}, {way}", (*kept, last))
