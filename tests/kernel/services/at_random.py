"""Random stories about services, from a seed: all of their features at once.

Services of a port, of FTP's, of any port and of a mark stand beside each other; servers are edited,
go and come back, and so do services; switches and timeouts are changed, and few clients use few
ports again and again. lvsd itself is asked what there is while a story is made up: which servers
have connections that could be answered, and when nothing is about to end.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lvsd.packet.address import text
from tests.kernel.histories import REUSED_S
from tests.kernel.ours import Ours
from tests.kernel.scenario import (
    SCTP,
    TCP,
    UDP,
    Operation,
    Scenario,
    Send,
    Side,
    VirtualService,
    Wait,
)
from tests.kernel.services.story import GONE_S, OPENING, Story, Way, packet

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.template import Template

STEPS = 50
LOOKS = 0.2
"""How often the operator looks after a step."""

CLIENTS = (1, 2, 3, 257)
SERVERS = (1, 2, 3, 4, 5)
SAID = {
    TCP: {"S": 8, "A": 4, "FA": 3, "R": 2, "SA": 1, "SR": 1, "": 1},
    UDP: {"": 1},
    SCTP: {
        "INIT": 8,
        "COOKIE-ECHO": 4,
        "DATA": 4,
        "SHUTDOWN": 1,
        "SHUTDOWN-COMPLETE": 1,
        "ABORT": 2,
        "COOKIE-ECHO+ABORT": 1,
    },
}
"""What clients say, and how often."""

ANSWERED = {
    TCP: ("SA", "A", "A", "FA", "R"),
    UDP: ("",),
    SCTP: ("INIT-ACK", "COOKIE-ACK", "DATA", "SHUTDOWN-ACK", "ABORT"),
}
SWITCHES = {
    "expire_nodest_conn": (0, 1),
    "expire_quiescent_template": (0, 1),
    "conn_reuse_mode": (0, 1, 1, 2, 3),
    "sloppy_tcp": (0, 1),
    "sloppy_sctp": (0, 1),
}
TIMEOUTS = ((100, 0, 0), (0, 20, 0), (200, 45, 50), (900, 120, 300))
WAITS_S = (3.0, 7.0, 12.0, 33.0, 55.0, 70.0, 130.0, 330.0)
SCHEDULERS = ("rr", "rr", "wlc", "wrr", "sh", "lc", "mh", "nq")

LATE = ((16.0, 0.3), (129.0, 2.1))
"""The kernel's timers up to so many seconds end so many seconds late; longer ones still later."""
LATEST_S = 16.5
OURS_LATE_S = 1.2
EARLY_S = 3.0
LINGER_S = 60.0
LINGERED_S = 18.0
"""How far a template that has lived on may be behind in the kernel."""


def _late_s(timeout_s: float) -> float:
    return OURS_LATE_S + next((late for most, late in LATE if timeout_s <= most), LATEST_S)


class Hazard(Story):
    """A story that makes itself up."""

    def __init__(self, way: Way, number: int, chance: random.Random) -> None:
        super().__init__(way, number)
        self.chance = chance
        self.now = 0.0
        self.ours = Ours(self.now)
        self.mark = 1000 + number
        self.present: dict[str, VirtualService] = {}
        self.away: dict[str, VirtualService] = {}
        self.members: dict[str, set[int]] = {}
        self.nodest = False

    @property
    def host_answers(self) -> bool:
        """Whether the host's own RST looks like a real server's (see `allowed.HOSTS_ANSWER`)."""
        return self.way.protocol == TCP and self.way.forward != "nat"

    # --- time -------------------------------------------------------------------------------

    def note(self, operation: Operation) -> None:
        """Let something happen, to lvsd too."""
        super().note(operation)
        self.ours.do(operation, self.now)
        if isinstance(operation, Wait):
            self.now += operation.seconds

    def look(self) -> None:
        """Let the operator look, now and then."""
        if self.chance.random() < LOOKS:
            super().look()

    def rest(self) -> None:
        """Let time go by, if there is a time that is not too near to the end of something."""
        for _ in range(40):
            seconds = self.chance.choice(WAITS_S) + self.chance.random() * 9
            if self._is_calm(self.now + seconds):
                self.wait(seconds)
                return

    def _is_calm(self, at: float) -> bool:
        table = self.ours.balancer.flows.table
        lives_until: dict[Template, float] = {}
        for connection in table:
            late_s = _late_s(connection.path.timeouts[connection.state])
            if connection.expires - EARLY_S < at < connection.expires + late_s:
                return False
            template = connection.template
            if template is not None:
                until = max(lives_until.get(template, 0.0), connection.expires + late_s)
                lives_until[template] = until
        templates = (*table.templates.values(), *table.retired)
        return all(
            self._is_calm_about(template, lives_until.get(template, 0.0), at)
            for template in templates
        )

    @staticmethod
    def _is_calm_about(template: Template, lives_until: float, at: float) -> bool:
        """Whether a template ends, or goes on for a minute, well before or after a time."""
        late_s = _late_s(template.timeout) + LINGERED_S * (template.timeout == LINGER_S)
        expires = template.expires
        while expires - EARLY_S < at:
            if at < expires + late_s:
                return False
            if lives_until < expires - EARLY_S:
                return True
            if lives_until - LATEST_S - EARLY_S < expires + late_s:
                return False
            expires += LINGER_S
            late_s += 2.1
        return True

    # --- the operator -----------------------------------------------------------------------

    def begin(self) -> None:
        """Set everything up."""
        chance = self.chance
        self.keep_looking()
        if chance.random() < 0.6:
            self.switch()
        kinds = ["port", "any port", "mark"] + ["ftp"] * (self.way.protocol == TCP)
        for kind in chance.sample(kinds, chance.choice((1, 2, 2, 3))):
            self.establish_service(kind)

    def establish_service(self, kind: str) -> None:
        """Add a service with servers, perhaps one that was there before."""
        chance = self.chance
        vport = {"port": 80, "ftp": 21}.get(kind, 0)
        mark = self.mark if kind == "mark" else 0
        options = self._options(kind)
        self.present[kind] = self.serve(vport, mark=mark, servers=0, **options)
        self.members[kind] = set()
        for number in chance.sample(SERVERS, chance.choice((1, 2, 3))):
            self.members[kind].add(number)
            self.add(self.present[kind], number, **self._given(kind))

    def _options(self, kind: str) -> dict[str, Any]:
        chance = self.chance
        likely = 0.9 if kind in {"any port", "ftp"} else 0.5
        persistence_s = chance.choice((45, 100, 100, 300)) if chance.random() < likely else 0
        network = 24 if self.way.version == 4 else 64
        return {
            "persistence_s": persistence_s,
            "prefix": chance.choice((None, None, network)) if persistence_s else None,
            "scheduler": chance.choice(SCHEDULERS),
            "one_packet": chance.random() < 0.2 and (kind == "mark" or self.way.protocol == UDP),
        }

    def _given(self, kind: str) -> dict[str, Any]:
        chance = self.chance
        given = {"weight": chance.choice((0, 1, 1, 2, 3)), "upper": chance.choice((0, 0, 0, 2, 4))}
        if kind == "mark":
            given["port"] = self._mark_port
        return given

    @property
    def _mark_port(self) -> int:
        return 8080 * (self.number % 2)

    def _own_port(self, kind: str) -> dict[str, Any]:
        return {"port": self._mark_port} if kind == "mark" else {}

    def edit_something(self) -> None:
        """Edit a real server."""
        kind = self.chance.choice(list(self.present) or [""])
        if kind and self.members[kind]:
            number = self.chance.choice(sorted(self.members[kind]))
            self.edit(self.present[kind], number, **self._given(kind))

    def edit_some_service(self) -> None:
        """Edit a service."""
        if self.present:
            kind = self.chance.choice(list(self.present))
            service = self.edit_service(self.present[kind], **self._options(kind))
            self.present[kind] = service

    def add_something(self) -> None:
        """Add a real server, which may have been there before."""
        if self.present:
            kind = self.chance.choice(list(self.present))
            number = self.chance.choice(SERVERS)
            self.members[kind].add(number)
            self.add(self.present[kind], number, **self._given(kind))

    def remove_something(self) -> None:
        """Remove a real server, which may not be there."""
        if self.present and self._is_calm(self.now + GONE_S):
            kind = self.chance.choice(list(self.present))
            number = self.chance.choice(SERVERS)
            self.members[kind].discard(number)
            self.remove(self.present[kind], number, **self._own_port(kind))

    def remove_some_service(self) -> None:
        """Remove a service; or add the one again that was."""
        if self.away:
            self.establish_service(self.away.popitem()[0])
        elif self.present and self._is_calm(self.now + GONE_S):
            kind = self.chance.choice(list(self.present))
            self.away[kind] = self.present.pop(kind)
            self.remove_service(self.away[kind])
            if self.host_answers:
                self.establish_service(self.away.popitem()[0])

    def switch(self) -> None:
        """Set a switch."""
        name = self.chance.choice(list(SWITCHES))
        if name == "expire_nodest_conn" and self.host_answers and self.present:
            return
        self.set(name, self.chance.choice(SWITCHES[name]))

    def set_timeouts(self) -> None:
        """Change timeouts."""
        self.time_out(*self.chance.choice(TIMEOUTS))

    def end(self) -> None:
        """Have everything there, as connections end with their servers, and look at it."""
        for kind in (*self.away, *self.present):
            if kind in self.away:
                self.establish_service(kind)
            elif not self.members[kind]:
                self.add(self.present[kind], SERVERS[0], **self._given(kind))
        super().look()

    # --- clients and servers ----------------------------------------------------------------

    def say(self) -> None:
        """Let a client send something."""
        chance = self.chance
        protocol, mark = self.way.protocol, 0
        vports = [80, 80, 81]
        if "mark" in self.members and chance.random() < 0.5:
            mark = self.mark
            protocol = chance.choice((protocol, protocol, TCP, UDP, SCTP))
        if "ftp" in self.members:
            vports += [21, 21, 20, 50000]
        if "any port" in self.members:
            vports += [22, 50000]
        said = SAID[protocol]
        (what,) = chance.choices(list(said), list(said.values()))
        if chance.random() < 0.3:
            what = OPENING[protocol]
        self.send(
            what,
            chance.choice(CLIENTS),
            cport=chance.choice((40000, 40000, 40001, 40002, 20)),
            vport=chance.choice(vports),
            mark=mark,
            protocol=protocol,
        )

    def reply(self) -> None:
        """Let a real server answer a connection, if its answers come by."""
        known = [each for each in self.ours.balancer.flows.table if each.path.reply is not None]
        if known:
            self._answer(self.chance.choice(known))

    def _answer(self, connection: Connection) -> None:
        packed, cport = connection.client
        row = next(
            row
            for row in self.ours.balancer.connections()
            if (row.client, row.client_port, row.vport, row.protocol)
            == (packed, cport, int.from_bytes(connection.key[-2:], "big"), connection.protocol)
            and not row.template
        )
        what = self.chance.choice(ANSWERED[connection.protocol])
        source, destination = (text(row.rip), row.rport), (text(packed), cport)
        self.note(Send(Side.SERVER, packet(what, connection.protocol, source, destination)))
        self.wait(REUSED_S)


def story(seed: int, number: int) -> Scenario:
    """Return the story of a seed; ``number`` makes its virtual address."""
    chance = random.Random(f"services {seed}")
    way = Way(
        chance.choice((4, 6)),
        chance.choice((TCP, TCP, UDP, SCTP)),
        chance.choice(("nat", "nat", "dr", "tun")),
    )
    told = Hazard(way, number, chance)
    told.begin()
    steps = {
        told.say: 40,
        told.reply: 8,
        told.rest: 4,
        told.edit_something: 5,
        told.add_something: 3,
        told.remove_something: 3,
        told.edit_some_service: 3,
        told.remove_some_service: 2,
        told.switch: 2,
        told.set_timeouts: 1,
    }
    for step in chance.choices(list(steps), list(steps.values()), k=STEPS):
        step()
    told.end()
    return Scenario(f"services, seed {seed}, {way}", tuple(told.operations))


def stories(count: int, first_number: int) -> list[Scenario]:
    """Return the stories of the seeds from 1 on."""
    return [story(seed, first_number + seed % 90) for seed in range(1, count + 1)]
