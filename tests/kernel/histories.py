"""Random histories of a service, from a seed: what a scheduler may come across.

Real servers come, go, come back and get other weights and thresholds; clients open connections,
close them by FIN or RST, leave them to time out, and use their ports again. After every history
the operator looks at what is there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from schedulers import BUILT_IN
from tests.kernel import packets
from tests.kernel.rig import server_address
from tests.kernel.scenario import (
    TCP,
    UDP,
    Change,
    Look,
    Operation,
    RealServer,
    Scenario,
    Send,
    Side,
    VirtualService,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS, PORTS = 1, 10000
"""The first mark and virtual port; each history has its own, since a service that comes back finds
the real servers that an earlier one left."""

FLAGS = {"sh": ("sh-port", "sh-fallback"), "mh": ("mh-port", "mh-fallback")}
FEWEST, MOST = 3, 60
STEPS = 120
REUSED_S = 0.012
"""A connection that makes room for another from the same port ends by the next tick of the clock,
4 ms apart."""


@dataclass
class History:
    """A history that is being made up."""

    scheduler: str
    seed: int
    number: int
    patient: bool
    operations: list[Operation] = field(default_factory=list)
    members: dict[int, RealServer] = field(default_factory=dict)
    away: dict[int, RealServer] = field(default_factory=dict)
    open: list[tuple[str, int, str]] = field(default_factory=list)
    closed: list[tuple[str, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.scheduler} {self.seed}")
        chance = self.random
        self.version = chance.choice((4, 4, 4, 6))
        self.protocol = chance.choice((TCP, TCP, TCP, UDP))
        self.forward = chance.choice(("nat", "nat", "dr", "tun"))
        self.heaviest = chance.choice((1, 3, 10, 100))
        self.crowded = chance.random() < 0.4
        self.clients = chance.choice((3, 30, 300))
        # Where the virtual address counts, the service is a mark's, with many of them.
        looks_at = BUILT_IN[self.scheduler].looks_at
        by_mark = "destination" in looks_at or chance.random() < 0.2
        self.vips = [self._vip(number) for number in range(1, 1 + (20 if by_mark else 1))]
        self.mark = MARKS + self.number if by_mark else 0
        self.vport = PORTS + self.number
        by = {"fwmark": self.mark, "version": self.version}
        self.service = VirtualService(
            **(by if by_mark else {"address": self.vips[0], "port": self.vport}),
            protocol=self.protocol,
            scheduler=self.scheduler,
            flags=self._flags(),
        )
        # In NAT a port of its own; in DR and TUN there is one for all.
        self.port = 8080 if self.forward == "nat" else 0 if by_mark else self.vport
        self.next_port = 1024

    def _flags(self) -> frozenset[str]:
        return frozenset(
            flag for flag in FLAGS.get(self.scheduler, ()) if self.random.random() < 0.5
        )

    def _vip(self, number: int) -> str:
        return f"192.0.2.{number}" if self.version == 4 else f"2001:db8:f::{number:x}"

    def _client(self) -> str:
        number = self.random.randrange(self.clients)
        if self.version == 4:
            return f"203.0.{113 + number // 250}.{number % 250 + 1}"
        return f"2001:db8:c::{number + 1:x}"

    # --- the operator -----------------------------------------------------------------------

    def _server(self, number: int) -> RealServer:
        chance = self.random
        weight = chance.choice((0, 1, chance.randint(0, self.heaviest)))
        if self.heaviest > 1:
            weight = chance.choice((weight, chance.randint(0, self.heaviest)))
        upper = chance.randint(1, 8) if self.crowded and chance.random() < 0.6 else 0
        lower = chance.randint(0, upper) if chance.random() < 0.5 else 0
        address = server_address(number, self.version)
        return RealServer(address, self.port, self.forward, weight, upper, lower)

    def add(self) -> None:
        """Add a real server, or one that was removed."""
        free = [number for number in range(1, MOST + 1) if number not in self.members]
        if not free:
            return
        back = [number for number in free if number in self.away]
        number = self.random.choice(back if back and self.random.random() < 0.7 else free)
        self.members[number] = self._server(number)
        self.away.pop(number, None)
        self.operations.append(Change("add", self.service, self.members[number]))

    def edit(self) -> None:
        """Give a real server another weight or other thresholds, or both."""
        if not self.members:
            return
        number = self.random.choice(list(self.members))
        old, new = self.members[number], self._server(number)
        what = self.random.choice(("weight", "thresholds", "both"))
        if what == "weight":
            new = replace(old, weight=new.weight)
        elif what == "thresholds":
            new = replace(old, upper=new.upper, lower=new.lower)
        self.members[number] = new
        self.operations.append(Change("edit", self.service, new))

    def remove(self) -> None:
        """Remove a real server; its connections are still there."""
        if len(self.members) > 1:
            number = self.random.choice(list(self.members))
            self.away[number] = self.members.pop(number)
            self.operations.append(Change("remove", self.service, self.away[number]))

    def edit_service(self) -> None:
        """Give the service other flags of its scheduler."""
        self.service = replace(self.service, flags=self._flags())
        self.operations.append(Change("edit", self.service))

    def change_scheduler(self) -> None:
        """Let another scheduler have the service for a while, and return."""
        other = replace(self.service, scheduler="rr", flags=frozenset())
        self.operations.append(Change("edit", other))
        for _ in range(self.random.randint(0, 3)):
            self.connect()
        self.operations.append(Change("edit", self.service))

    # --- clients ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a connection, sometimes from a port whose last one was closed."""
        again = bool(self.closed) and self.random.random() < 0.04
        if again:
            ends = self.closed.pop(self.random.randrange(len(self.closed)))
        else:
            ends = self._client(), self.next_port, self.random.choice(self.vips)
            self.next_port += 1
        self.send(ends, "S")
        if again:
            self.operations.append(Wait(REUSED_S))
        if self.random.random() < 0.8:
            self.open.append(ends)
        if self.protocol == TCP and self.random.random() < 0.7:
            self.send(ends, "A")

    def close(self) -> None:
        """End a connection by FIN or RST."""
        if self.open and self.protocol == TCP:
            ends = self.open.pop(self.random.randrange(len(self.open)))
            self.send(ends, self.random.choice(("FA", "FA", "R")))
            self.closed.append(ends)

    def send(self, ends: tuple[str, int, str], flags: str) -> None:
        """Let a client send a packet."""
        client, port, vip = ends
        if self.protocol == TCP:
            data = packets.tcp(client, port, vip, self.vport, flags)
        else:
            data = packets.udp(client, port, vip, self.vport)
        self.operations.append(Send(Side.CLIENT, data, self.mark))

    def wait(self) -> None:
        """Let some connections time out, if there is time."""
        if self.patient:
            self.operations.append(Wait(self.random.choice((7.0, 33.0, 65.0, 130.0))))


def history(scheduler: str, seed: int, number: int, *, patient: bool) -> Scenario:
    """Return the history of a service with this scheduler; the same for the same seed.

    ``number`` is another one for every history that the kernel hears of. One that is ``patient``
    has long waits in it.
    """
    made = History(scheduler, seed, number, patient)
    chance = made.random
    made.operations.append(Change("add", made.service))
    for _ in range(chance.choice((FEWEST, chance.randint(FEWEST, 10), chance.randint(10, MOST)))):
        made.add()
    steps = {
        made.connect: 60,
        made.close: 20,
        made.edit: 6,
        made.add: 3,
        made.remove: 4,
        made.wait: 1,
        made.edit_service: 1,
        made.change_scheduler: 1,
    }
    for step in chance.choices(list(steps), list(steps.values()), k=STEPS):
        step()
    made.operations.append(Look())
    return Scenario(f"{scheduler}, seed {seed}", tuple(made.operations))


def histories(schedulers: Sequence[str], each: int, *, patient: bool = False) -> list[Scenario]:
    """Return so many histories of each scheduler, with the seeds from 1 on."""
    seeds = [(scheduler, seed) for scheduler in schedulers for seed in range(1, each + 1)]
    return [
        history(scheduler, seed, number, patient=patient)
        for number, (scheduler, seed) in enumerate(seeds)
    ]
