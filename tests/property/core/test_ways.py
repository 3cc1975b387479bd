"""All ways at once, in any order of events: whatever happens, the books balance.

Requests, replies and ICMP errors come while servers leave, return, change their way, lose their
route or turn out to be the director itself. What the director sends is answered, complained of, or
comes back as too long. After every step counts equal what the table holds; after a silence nothing
is left.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.commands import Drain, SetHealth, Undrain
from lvsd.core.local_pool import LocalPool
from lvsd.core.settings import Settings
from lvsd.core.values import Health, Way
from lvsd.core.verdict import Departure, Hook, Verdict
from lvsd.packet.address import pack, text
from lvsd.packet.view import Packet, split_key
from tests.property.examples import examples
from tests.unit.core.world import Segment, World, icmp_error, raw

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.connection import Connection
    from lvsd.core.service import RealServer, Service
    from schedulers.base import Scheduler

NAMES = {6: "tcp", 17: "udp", 132: "sctp"}
CLIENTS = st.integers(1, 2)
CPORTS = st.sampled_from([1000, 1001, 1002])
SERVICES = st.sampled_from(["tcp", "udp", "sctp", "persistent", "one packet"])
SERVERS = st.integers(1, 3)
FLAGS = st.sampled_from(["S", "A", "PA", "FA", "R", "SF", ""])
REPLY_FLAGS = st.sampled_from(["SA", "A", "PA", "FA", "R"])
FORWARDERS = st.sampled_from([Nat(), Dr(), Tun(), Tun("gue", 6080), Fullnat(), Fullnat("proxy-v2")])
MTUS = st.sampled_from([60, 1280, 1500])
SIZES = st.sampled_from([0, 10, 1300, 1440])
KINDS = st.sampled_from(["unreachable", "too big", "time exceeded"])
PORTS = range(5000, 5003)
"""The local ports; fewer than connections, and the same for all services."""

ROOM = 12


class Ways(RuleBasedStateMachine):
    """Five services with the same real servers, reached by FULLNAT, NAT and DR to begin with."""

    version = 4

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.version, Settings(max_connections=ROOM), now=1000.5)
        self.world.balancer.network.tunnel_ports = frozenset({6080})
        self.lip = "10.0.0.200" if self.version == 4 else "fd00::c8"
        self.own = [self.world.vip(1), self.lip]
        self._own()
        self.services: dict[str, Service] = {}
        self.sent: list[Departure] = []
        self.drained: dict[RealServer, int] = {}
        """Those that were drained, with the connections that they had got by then."""
        self.unwell: dict[RealServer, int] = {}
        """Those that checks found something about, likewise."""
        for name in ("tcp", "udp", "sctp", "persistent", "one packet"):
            self._serve(name)

    def _own(self) -> None:
        self.world.balancer.network.local_addresses = frozenset(map(pack, self.own))

    def _serve(self, name: str) -> None:
        pool = LocalPool((pack(self.lip),), PORTS[0], PORTS[-1])
        service = self.services[name] = self.world.serve(
            {"persistent": "tcp", "one packet": "udp"}.get(name, name),
            vip=1 + (name in {"persistent", "one packet"}),
            persistence_s=50 * (name == "persistent"),
            one_packet=name == "one packet",
            servers=0,
            local=pool,
            scheduler=self._scheduler(),
        )
        for number, forwarder in enumerate((Nat(), Dr(), Fullnat()), 1):
            self._add_server(service, number, forwarder)

    def _scheduler(self) -> str | Scheduler:
        """Return the scheduler of a new service."""
        return "rr"

    def _add_server(self, service: Service, number: int, forwarder: Forwarder) -> None:
        self.world.add_server(service, number, 80, forwarder=forwarder)

    def _edit_server(self, server: RealServer, **options: Any) -> None:
        self.world.edit_server(server, **options)

    def _server(self, name: str, number: int) -> RealServer | None:
        address = pack(self.world.rip(number))
        found = (each for each in self.services[name].servers if each.address == address)
        return next(found, None)

    def _handle(self, data: bytes, hook: Hook = Hook.PREROUTING) -> None:
        """Hand over a packet; keep what is sent for it, and forget the errors."""
        balancer = self.world.balancer
        drops = balancer.tally.drops.total()
        outcome = self.world.handle(data, hook=hook)
        assert isinstance(outcome, bytes | Verdict)
        assert (outcome is Verdict.DROP) == (balancer.tally.drops.total() > drops)
        if isinstance(outcome, bytes):
            self.sent.append(Departure(outcome))
        self.sent = [*self.sent, *self.world.sent()][-8:]
        balancer.outbox.answers.clear()

    # --- packets ------------------------------------------------------------------------

    @rule(name=SERVICES, client=CLIENTS, cport=CPORTS, what=FLAGS, size=SIZES, whole=st.booleans())
    def a_client_sends(
        self, name: str, client: int, cport: int, what: str, size: int, *, whole: bool
    ) -> None:
        """Let a client send a packet, with DF or not."""
        protocol = NAMES[self.services[name].key.protocol]
        if protocol == "sctp":
            what = {"S": "INIT", "R": "ABORT"}.get(what, "DATA")
        vip = self.world.vip(1 + (name in {"persistent", "one packet"}))
        ends = self.world.client(client), cport, vip, 80
        self._handle(raw(Segment(protocol, *ends, what, bytes(size), dont_fragment=whole)))

    @rule(name=SERVICES, client=CLIENTS, flags=st.sampled_from(["SA", "SAF", "SR", "SAFAS"]))
    def clients_open_connections(self, name: str, client: int, flags: str) -> None:
        """Let a client open connections from all its ports, and do something with them."""
        for cport in (1000, 1001, 1002):
            for what in flags:
                self.a_client_sends(name, client, cport, what, 0, whole=True)

    @rule(which=st.integers(0, 7), what=REPLY_FLAGS)
    def somebody_answers_what_was_sent(self, which: int, what: str) -> None:
        """Let the receiver of a packet that left answer it."""
        about = self._about(which)
        if about is not None:
            what = "INIT_ACK" if about.protocol == "sctp" else what
            reply = about.reversed
            self._handle(raw(Segment(*_ends(reply), what)), Hook.FORWARD)

    @rule(which=st.integers(0, 7), kind=KINDS)
    def a_router_complains_of_what_was_sent(self, which: int, kind: str) -> None:
        """Let an ICMP error come about a packet that left."""
        about = self._about(which)
        if about is not None:
            router = "203.0.113.1" if self.version == 4 else "2001:db8:e::1"
            self._handle(icmp_error(kind, router, about.source, about))

    @rule(which=st.integers(0, 7), mtu=MTUS)
    def what_was_sent_turns_out_too_long(self, which: int, mtu: int) -> None:
        """Let a sender return a packet, with the MTU of its way."""
        if which < len(self.sent) and len(self.sent[which].data) > mtu:
            self.world.balancer.forwarding.too_long(self.sent[which], mtu)
            assert all(len(each.data) <= mtu for each in self.world.balancer.outbox.departures)
            self.world.sent()

    def _about(self, which: int) -> Segment | None:
        packet = Packet()
        if which >= len(self.sent) or packet.load(self.sent[which].data) is not None:
            return None
        if packet.protocol not in NAMES:
            return None
        (source, sport), (destination, dport) = split_key(packet.key)
        what = {6: "A", 17: "", 132: "DATA"}[packet.protocol]
        ends = text(source), sport, text(destination), dport
        return Segment(NAMES[packet.protocol], *ends, what)

    # --- the operator, the network, and time ---------------------------------------------

    @rule(name=SERVICES, number=SERVERS, forwarder=FORWARDERS)
    def a_server_goes_or_comes(self, name: str, number: int, forwarder: Forwarder) -> None:
        """Remove a server, or add one at its address, forwarded in whatever way."""
        if self._server(name, number):
            self.world.remove_server(self.services[name], number, 80)
        else:
            self._add_server(self.services[name], number, forwarder)

    @rule(name=SERVICES, number=SERVERS, forwarder=FORWARDERS)
    def a_server_is_forwarded_another_way(
        self, name: str, number: int, forwarder: Forwarder
    ) -> None:
        """Change a server's forwarder while connections live."""
        server = self._server(name, number)
        if server is not None:
            self._edit_server(server, forwarder=forwarder)

    @rule(
        name=SERVICES,
        number=SERVERS,
        mtu=MTUS,
        source=st.sampled_from([None, 1, 2]),
        here=st.booleans(),
    )
    def the_way_to_a_server_changes(
        self, name: str, number: int, mtu: int, source: int | None, *, here: bool
    ) -> None:
        """Change what is known of the way: its MTU, where it begins, whether it leads anywhere."""
        server = self._server(name, number)
        if server is not None:
            address = None if source is None else pack(self.world.rip(250 + source))
            server.set_way(Way(mtu, address, is_local=here))

    @rule(name=SERVICES, number=SERVERS, weight=st.integers(0, 1))
    def a_weight_changes(self, name: str, number: int, weight: int) -> None:
        """Quiesce a server, or take it back into service."""
        server = self._server(name, number)
        if server is not None:
            self._edit_server(server, weight=weight)

    @rule(name=SERVICES, number=SERVERS, deadline_s=st.sampled_from([None, 0, 5, 60]))
    def a_server_is_drained(self, name: str, number: int, deadline_s: int | None) -> None:
        """Drain a server, maybe once more, with or without a deadline."""
        server = self._server(name, number)
        if server is not None:
            self._drain(server, deadline_s)

    def _drain(self, server: RealServer, deadline_s: int | None) -> None:
        self.world.apply(Drain(server.service.key, *server.config.place, deadline_s))
        self.drained[server] = server.meter.stats.connections

    def _undrain(self, server: RealServer) -> None:
        self.world.apply(Undrain(server.service.key, *server.config.place))

    @rule(name=SERVICES, number=SERVERS)
    def a_drained_server_is_taken_back(self, name: str, number: int) -> None:
        """Drain a server no longer."""
        server = self._server(name, number)
        if server is not None:
            self._undrain(server)

    @rule(name=SERVICES, number=SERVERS, health=st.sampled_from(Health))
    def checks_make_something_of_a_server(self, name: str, number: int, health: Health) -> None:
        """Let a server be up, or not."""
        server = self._server(name, number)
        if server is not None:
            self._set_health(server, health)

    def _set_health(self, server: RealServer, health: Health) -> None:
        self.world.apply(SetHealth(server.service.key, *server.config.place, health))
        self.unwell[server] = server.meter.stats.connections

    @rule(name=SERVICES)
    def a_service_goes_and_comes_back(self, name: str) -> None:
        """Remove a service, and add it again with the same servers."""
        self.world.remove(self.services[name])
        self._serve(name)

    @rule(nodest=st.booleans(), quiescent=st.booleans(), reuse=st.integers(0, 3))
    def settings_change(self, reuse: int, *, nodest: bool, quiescent: bool) -> None:
        """Set some sysctls."""
        changed = self.world.settings
        changed.expire_nodest_conn, changed.expire_quiescent_template = nodest, quiescent
        changed.conn_reuse_mode = reuse

    @rule(address=st.integers(0, 1))
    def an_address_goes_or_comes(self, address: int) -> None:
        """Take the VIP or the local address off the host, or put it there."""
        each = (self.world.vip(1), self.lip)[address]
        self.own.remove(each) if each in self.own else self.own.append(each)
        self._own()

    @rule(seconds=st.sampled_from([1, 8, 61, 301, 901]))
    def time_goes_by(self, seconds: int) -> None:
        """Let time go by, and the timers run."""
        self.world.now += seconds
        self.world.tick()
        self.sent = [*self.sent, *self.world.sent()][-8:]
        for service in self.services.values():
            for server in service.servers:
                drain = server.drain
                if drain and drain.deadline is not None and drain.deadline <= self.world.now:
                    assert server.total == 0
                assert drain is None or drain.is_empty == (server.total == 0)

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def every_local_end_is_one_connections(self) -> None:
        """Look for two connections that a real server could not tell apart."""
        ends = Counter(
            each.reply_key
            for each in self.world.balancer.flows.table
            if each.translation is not None
        )
        assert set(ends.values()) <= {1}
        assert {split_key(key)[1][1] for key in ends} <= set(PORTS)

    @invariant()
    def a_drained_server_gets_no_new_connection(self) -> None:
        """Count what each one got since it is drained."""
        for service in self.services.values():
            for server in service.servers:
                if server.drain is not None:
                    assert server.weight == 0
                    assert server.meter.stats.connections == self.drained[server]

    @invariant()
    def a_server_that_is_not_up_gets_no_new_connection(self) -> None:
        """Count what each one got since it is not."""
        for service in self.services.values():
            for server in service.servers:
                simple = server.health in {Health.UP, Health.STANDBY}
                assert server.is_serving == simple
                if server.health is not Health.UP:
                    assert server.weight == 0
                    assert server.meter.stats.connections == self.unwell[server]
            assert not any(each.is_serving for each in service.removed.values())

    @invariant()
    def as_many_ports_are_given_as_connections_have(self) -> None:
        """Compare what is given towards each real server with the connections that have it."""
        living = Counter(
            (each.protocol, *each.ends[0], each.ends[1][0])
            for each in self.world.balancer.flows.table
            if each.translation is not None
        )
        given = {
            (towards.protocol, *towards.real, towards.address): free.given
            for towards, free in self.world.balancer.flows.local_ports.free.items()
        }
        assert given == living

    @invariant()
    def counts_are_those_of_living_connections(self) -> None:
        """Count connections per server, path and template."""
        balancer = self.world.balancer
        living = list(balancer.flows.table)
        assert len(living) == balancer.flows.table.count
        assert len(balancer.flows.table) <= ROOM
        self._shares_add_up(living)
        servers = Counter(each.path.server for each in living)
        active = Counter(each.path.server for each in living if each.active)
        users = Counter(each.path for each in living)
        controlled = Counter(each.template for each in living if each.template)
        for service in self.services.values():
            for server in (*service.servers, *service.removed.values()):
                assert (server.total, server.active) == (servers[server], active[server])
                assert {path: path.users for path in server.paths.values() if path.users} == {
                    path: count for path, count in users.items() if path.server is server
                }
        for template in balancer.flows.table.templates.values():
            assert template.controlled == controlled[template]

    def _shares_add_up(self, living: list[Connection]) -> None:
        """Count what services have of the table, and see that who opens lies in the right wheel."""
        balancer = self.world.balancer
        table = balancer.flows.table
        templates = (*table.templates.values(), *table.retired)
        entries = Counter(each.path.server.service.share for each in living)
        entries.update(each.server.service.share for each in templates)
        shares = {each.share for each in self.services.values()} | set(entries)
        assert {share: share.entries for share in shares} == {
            share: entries[share] for share in shares
        }
        opening = {each for each in living if each.path.protocol.opening[each.state]}
        assert {each for share in shares for each in share.opening.walk()} == opening
        present = [each.share for each in self.services.values()]
        assert table.shares.unused == sum(share.unused for share in present)

    @invariant()
    def every_key_leads_to_a_living_connection(self) -> None:
        """Look for keys that point at the dead, and for connections that no key finds."""
        table = self.world.balancer.flows.table
        living = set(table)
        assert set(table.by_key.values()) <= living
        for connection in living:
            assert table.by_key[connection.key] is connection
            assert table.by_key[connection.reply_key].reply_key == connection.reply_key

    def teardown(self) -> None:
        """Let all timers run out: nothing must be left."""
        balancer = self.world.balancer
        for _ in range(3):
            self.world.now += 10_000
            self.world.tick()
        table = balancer.flows.table
        assert (table.by_key, table.templates, table.count) == ({}, {}, 0)
        assert table._shadowed == {}
        assert table._wheel._buckets == {}
        assert balancer.flows.local_ports.free == {}
        assert table.shares.opening == {}
        for service in self.services.values():
            assert service.removed == {}
            for server in service.servers:
                assert (server.active, server.total, server.templates) == (0, 0, 0)
                assert not any(path.users for path in server.paths.values())


def _ends(segment: Segment) -> tuple[str, str, int, str, int]:
    return (
        segment.protocol,
        segment.source,
        segment.source_port,
        segment.destination,
        segment.destination_port,
    )


class Ways6(Ways):
    """The same over IPv6."""

    version = 6


Ways.TestCase.settings = Ways6.TestCase.settings = examples(200, stateful_step_count=40)
TestEveryWayOverIpv4 = Ways.TestCase
TestEveryWayOverIpv6 = Ways6.TestCase
