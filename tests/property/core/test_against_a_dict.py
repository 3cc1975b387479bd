"""The director against the plainest model there is: a dict of connections and the rules.

The model knows nothing of keys as bytes, wheels or paths. It looks at every connection whenever
something happens, and says states by the sentences of the unit test. What both must agree on,
after every step: which connections there are, their states, when they end, each server's counts,
the templates, and who gets each packet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lvsd.core import states
from lvsd.core.service import RealServer, Service
from lvsd.core.states import Direction
from lvsd.core.verdict import Verdict
from lvsd.packet.address import pack
from tests.property.examples import examples
from tests.unit.core.test_states import CHUNK_NAMES, SCTP_RULES, TCP_RULES, by_rule, tcp_event
from tests.unit.core.world import CHUNKS, FirstAdded, Segment, World, raw

CLIENTS = st.integers(1, 2)
CPORTS = st.sampled_from([1000, 1001])
VIPS = st.integers(1, 2)
SERVERS = st.integers(1, 2)
FLAGS = st.sampled_from(["S", "SA", "A", "PA", "FA", "R", "RA", "SF", "SR", "", "PU", "FSRPAUEC"])
CHUNK = st.sampled_from(list(CHUNKS))
PERSISTENCE_S = 50

Ends: TypeAlias = tuple[str, int, int, int]
"""Protocol, client, client's port, VIP."""

TIMEOUTS = {
    protocol.name.lower(): dict(zip(protocol.states, protocol.timeouts, strict=True))
    for protocol in (states.tcp(), states.udp(), states.sctp())
}
ACTIVE = {"ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK"}


@dataclass
class Link:
    """A connection in the model."""

    ends: Ends
    server: RealServer
    born: int
    state: str
    expires: float = 0.0
    template: Promise | None = None

    @property
    def active(self) -> bool:
        """Whether it counts as active."""
        return self.state in ACTIVE


@dataclass
class Promise:
    """A template in the model."""

    server: RealServer
    expires: float
    timeout: float = PERSISTENCE_S


def _ends_at(expires: float) -> float:
    """Return the second in which the wheel ends what expires at a time."""
    return floor(expires) + 1


class Against(RuleBasedStateMachine):
    """TCP persistent at VIP 2, UDP and SCTP plain; two servers in each, the same everywhere."""

    version = 4

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.version, now=1000.5)
        self.services: dict[tuple[str, int], Service] = {}
        for protocol in ("tcp", "udp", "sctp"):
            for vip in (1, 2):
                self.services[protocol, vip] = self.world.serve(
                    protocol,
                    vip=vip,
                    servers=2,
                    scheduler=FirstAdded(),
                    persistence_s=PERSISTENCE_S * (protocol == "tcp" and vip == 2),
                )
        self.links: dict[Ends, Link] = {}
        self.promises: dict[int, Promise] = {}
        self.retired: list[Promise] = []
        self.direct: set[tuple[str, int, int, int]] = set()
        self.serial = 0
        self._learn()

    # --- the model ----------------------------------------------------------------------

    def _state(self, ends: Ends, state: str, what: str, direction: Direction) -> str:
        protocol = ends[0]
        if protocol == "udp":
            return "UDP"
        if protocol == "sctp":
            event = CHUNK_NAMES.get(CHUNKS[what], "DATA")
            return by_rule(SCTP_RULES[direction], event, state)
        bits = sum(1 << "FSRPAUEC".index(letter) for letter in what)
        named = tcp_event(bits)
        return by_rule(TCP_RULES[direction], named, state) if named else "CLOSE"

    def _move(self, link: Link, what: str, direction: Direction) -> None:
        link.state = self._state(link.ends, link.state, what, direction)
        link.expires = self.world.now + TIMEOUTS[link.ends[0]][link.state]

    def _choose(self, service: Service) -> RealServer | None:
        oldest_first = reversed(service.servers)
        return next((server for server in oldest_first if server.weight), None)

    def _expect(self, ends: Ends, what: str) -> RealServer | Verdict:
        """Return who gets a client's packet."""
        protocol, client, _, vip = ends
        opens = protocol == "udp" or (
            "S" in what and "R" not in what if protocol == "tcp" else what == "INIT"
        )
        is_new = "S" in what if protocol == "tcp" else what == "INIT"
        link = self.links.get(ends)
        if link is not None and is_new and protocol != "udp" and self._replaced(link):
            del self.links[ends]
            link = None
        if link is not None:
            if not link.server.available:
                return Verdict.DROP
            self._move(link, what, Direction.REQUEST)
            return link.server
        if not opens:
            return Verdict.PASS
        service = self.services[protocol, vip]
        persistent = bool(service.config.persistence_s)
        promise = self.promises.get(client) if persistent else None
        if promise is not None and not promise.server.available:
            self.retired.append(self.promises.pop(client))
            promise = None
        server = promise.server if promise else self._choose(service)
        if server is None:
            return Verdict.DROP
        if persistent:
            if promise is None:
                promise = self.promises[client] = Promise(server, 0.0)
            promise.expires = self.world.now + promise.timeout
        self.serial += 1
        state = "UDP" if protocol == "udp" else "NONE"
        link = self.links[ends] = Link(ends, server, self.serial, state, template=promise)
        self._move(link, what, Direction.REQUEST)
        return server

    @staticmethod
    def _replaced(link: Link) -> bool:
        closed = {"tcp": {"TIME_WAIT", "CLOSE"}, "sctp": {"CLOSED"}}[link.ends[0]]
        return link.template is None and link.state in closed

    def _pass_time(self) -> None:
        now = self.world.now
        self.links = {
            ends: link for ends, link in self.links.items() if _ends_at(link.expires) > now
        }
        self.promises = {
            client: promise
            for client, promise in self.promises.items()
            if self._lives_on(promise, now)
        }
        self.retired = [promise for promise in self.retired if self._lives_on(promise, now)]

    def _lives_on(self, promise: Promise, now: float) -> bool:
        """Whether a promise holds on, if need be for the sake of its connections."""
        if _ends_at(promise.expires) > now:
            return True
        if not any(link.template is promise for link in self.links.values()):
            return False
        promise.timeout = 60.0
        while promise.expires <= now:
            promise.expires += 60.0
        return True

    def _learn(self) -> None:
        """Note where replies come from: protocol, VIP, server."""
        self.replying = {
            (protocol, vip, server.address[-1])
            for (protocol, vip), service in self.services.items()
            for server in service.servers
        } | {(link.ends[0], link.ends[3], link.server.address[-1]) for link in self.links.values()}

    def _expect_stray(self, ends: Ends, number: int, what: str) -> Verdict:
        """Return what becomes of a server's packet that belongs to no connection."""
        protocol, client, cport, _ = ends
        flow = protocol, client, cport, number
        if protocol == "tcp":
            begins, refuses = "S" in what and "R" not in what, "R" in what
        else:
            begins = what in {"INIT", "INIT_ACK"}
            refuses = what in {"ABORT", "SHUTDOWN_COMPLETE"}
        if begins or flow in self.direct:
            self.direct.add(flow)
            return Verdict.PASS
        replying = any((protocol, vip, number) in self.replying for vip in (1, 2))
        if replying and protocol != "udp" and not refuses:
            return Verdict.DROP
        promise = self.promises.get(client)
        if promise is None or (protocol, 2, number) not in self.replying or protocol != "tcp":
            return Verdict.PASS
        return Verdict.DROP if promise.server.address[-1] == number else Verdict.PASS

    # --- what happens -------------------------------------------------------------------

    def _request(self, ends: Ends, what: str) -> None:
        protocol, client, cport, vip = ends
        segment = self.world.from_client(
            what, protocol=protocol, client=client, cport=cport, vip=vip
        )
        expected = self._expect(ends, what)
        outcome = self.world.handle(segment)
        if isinstance(expected, RealServer):
            number = expected.address[-1]
            assert outcome == raw(self.world.to_server(segment, number))
        else:
            assert outcome is expected

    def _reply(self, ends: Ends, number: int, what: str) -> None:
        protocol, client, cport, vip = ends
        segment = self.world.from_client(
            what, protocol=protocol, client=client, cport=cport, vip=vip
        )
        reply: Segment = self.world.to_server(segment, number).reversed
        outcome = self.world.reply(reply)
        alike = [
            link
            for link in self.links.values()
            if link.ends[:3] == ends[:3] and link.server.address == pack(self.world.rip(number))
        ]
        if not alike:
            assert outcome is self._expect_stray(ends, number, what)
            return
        newest = max(alike, key=lambda link: link.born)
        self._move(newest, what, Direction.REPLY)
        shown = replace(reply, source=self.world.vip(newest.ends[3]), source_port=80)
        assert outcome == raw(shown)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, what=FLAGS)
    def tcp_from_a_client(self, client: int, cport: int, vip: int, what: str) -> None:
        """Let a client send TCP."""
        self._request(("tcp", client, cport, vip), what)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, last=st.sampled_from(["A", "R", "FA"]))
    def a_tcp_handshake(self, client: int, cport: int, vip: int, last: str) -> None:
        """Let a client open a connection by the book, and go on, or not."""
        for what in ("S", "A", last):
            self._request(("tcp", client, cport, vip), what)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, what=CHUNK)
    def sctp_from_a_client(self, client: int, cport: int, vip: int, what: str) -> None:
        """Let a client send SCTP."""
        self._request(("sctp", client, cport, vip), what)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS)
    def udp_from_a_client(self, client: int, cport: int, vip: int) -> None:
        """Let a client send UDP."""
        self._request(("udp", client, cport, vip), "")

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, server=SERVERS, what=FLAGS)
    def tcp_from_a_server(self, client: int, cport: int, vip: int, server: int, what: str) -> None:
        """Let a real server send TCP, whoever it is for."""
        self._reply(("tcp", client, cport, vip), server, what)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, server=SERVERS, what=CHUNK)
    def sctp_from_a_server(self, client: int, cport: int, vip: int, server: int, what: str) -> None:
        """Let a real server send SCTP, whoever it is for."""
        self._reply(("sctp", client, cport, vip), server, what)

    @rule(client=CLIENTS, cport=CPORTS, vip=VIPS, server=SERVERS)
    def udp_from_a_server(self, client: int, cport: int, vip: int, server: int) -> None:
        """Let a real server send UDP, whoever it is for."""
        self._reply(("udp", client, cport, vip), server, "")

    @rule(seconds=st.sampled_from([1, 7, 61, 125, 301]))
    def time_goes_by(self, seconds: int) -> None:
        """Let time go by, and the timers run each whole second; packets come between."""
        self.world.now -= 0.5
        for _ in range(seconds):
            self.world.now += 1.0
            self.world.tick()
            self._pass_time()
        self.world.now += 0.5

    @rule(protocol=st.sampled_from(["tcp", "udp", "sctp"]), vip=VIPS, server=SERVERS)
    def a_server_goes_or_comes_back(self, protocol: str, vip: int, server: int) -> None:
        """Remove a server, or add it again."""
        service = self.services[protocol, vip]
        if any(each.address[-1] == server for each in service.servers):
            self.world.remove_server(service, server)
        else:
            self.world.add_server(service, server)
            self._learn()

    @rule(protocol=st.sampled_from(["tcp", "udp", "sctp"]), vip=VIPS)
    def a_service_goes_and_comes_back(self, protocol: str, vip: int) -> None:
        """Remove a service, and add it again with the same servers."""
        old = self.services[protocol, vip]
        self.world.remove(old)
        self.services[protocol, vip] = self.world.serve(
            protocol,
            vip=vip,
            servers=2,
            scheduler=FirstAdded(),
            persistence_s=old.config.persistence_s,
        )
        self._learn()

    @rule(protocol=st.sampled_from(["tcp", "udp", "sctp"]), vip=VIPS, weight=st.integers(0, 1))
    def a_weight_changes(self, protocol: str, vip: int, weight: int) -> None:
        """Quiesce the newest server, or take it back into service."""
        for server in self.services[protocol, vip].servers[:1]:
            self.world.edit_server(server, weight=weight)

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def the_same_connections_in_the_same_states(self) -> None:
        """Compare the connections, and when they end."""
        rows = [row for row in self.world.balancer.connections() if not row.template]
        assert sorted(
            (row.protocol, row.client, row.client_port, row.vip, row.state_name, row.expires)
            for row in rows
        ) == sorted(
            (
                {"tcp": 6, "udp": 17, "sctp": 132}[link.ends[0]],
                pack(self.world.client(link.ends[1])),
                link.ends[2],
                pack(self.world.vip(link.ends[3])),
                link.state,
                link.expires,
            )
            for link in self.links.values()
        )

    @invariant()
    def the_same_templates(self) -> None:
        """Compare the templates, their servers, and how many connections each has."""
        assert {
            key[1]: (id(each.server), each.expires, each.controlled)
            for key, each in self.world.balancer.flows.table.templates.items()
        } == {
            pack(self.world.client(client)): (
                id(promise.server),
                promise.expires,
                sum(link.template is promise for link in self.links.values()),
            )
            for client, promise in self.promises.items()
        }

    @invariant()
    def every_servers_counts_are_those_of_its_living_connections(self) -> None:
        """Count what the table holds, and find it in the total and active counts."""
        for service in self.services.values():
            for server in (*service.servers, *service.removed.values()):
                own = [link for link in self.links.values() if link.server is server]
                assert server.total == len(own)
                assert server.active == sum(link.active for link in own)

    @invariant()
    def every_key_leads_to_a_living_connection(self) -> None:
        """Look for keys that point at the dead, and for connections that no key finds."""
        table = self.world.balancer.flows.table
        living = set(table)
        assert table.count == len(living) == len(self.links)
        assert set(table.by_key.values()) <= living
        for connection in living:
            assert table.by_key[connection.key] is connection
            assert table.by_key[connection.reply_key].reply_key == connection.reply_key

    def teardown(self) -> None:
        """Let all timers run out: nothing must be left."""
        for _ in range(3):
            self.world.now += 10_000
            self.world.tick()
        table = self.world.balancer.flows.table
        assert (table.by_key, table.templates, table.count) == ({}, {}, 0)
        assert table._shadowed == {}
        assert table._wheel._buckets == {}
        assert table.shares.opening == {}
        for service in self.services.values():
            assert service.removed == {}
            for server in service.servers:
                assert (server.active, server.total, server.templates) == (0, 0, 0)
                assert not any(path.users for path in server.paths.values())


class Against6(Against):
    """The same over IPv6."""

    version = 6


Against.TestCase.settings = Against6.TestCase.settings = examples(150, stateful_step_count=60)
TestIpv4AgreesWithTheModel = Against.TestCase
TestIpv6AgreesWithTheModel = Against6.TestCase
