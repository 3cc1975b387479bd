"""Requests, reloads, packets and time in any order: lvsd has what a few dicts say.

A request takes the way that it takes in a running lvsd: from JSON to commands, to what the
supervisor keeps as wanted, and to the balancer. Some are wrong in themselves, some cannot be done,
and those in a list with them are not done either.
"""

from __future__ import annotations

import re
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lvsd.control.changes import selector, written_server, written_service
from lvsd.control.describe import service_entry
from lvsd.control.requests import read_commands
from lvsd.core.balancer import Balancer
from lvsd.core.commands import Drain
from lvsd.core.difference import difference
from lvsd.core.values import Way
from lvsd.core.wanted import Wanted
from lvsd.errors import ControlError
from lvsd.packet.address import pack, text
from lvsd.packet.view import split_key
from tests.property.control.model import SERVER, Model, Refused, label
from tests.property.examples import examples
from tests.unit.core.test_commands import _state as all_there_is
from tests.unit.core.world import World, raw

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.service import RealServer

ALL = ("web", "dns", "sticky", "marked")
NAMES = st.sampled_from(ALL)
VERBS = st.sampled_from(
    [
        *("add_service", "edit_service", "edit_service", "remove_service"),
        *("add_server", "add_server", "edit_server", "remove_server", "drain", "undrain"),
        *("set_timeouts", "zero", "clear", "explode"),
    ]
)
CLIENTS, CPORTS, NUMBERS = st.integers(1, 3), st.integers(1000, 1002), st.integers(1, 3)
PROTOCOLS = {6: "tcp", 17: "udp"}
MARK = 7
SEEN_ELSEWHERE = re.compile("No such|already exists")
"""Refusals that the balancer has, too; what does not fit together the supervisor sees alone."""

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "scheduler": st.sampled_from(["rr", "wrr", "lc", "wlc", "sh", "mh", "rr", "nonesuch"]),
        "flags": st.sampled_from([[], [], ["sh-port"]]),
        "name": st.sampled_from(["", "a"]),
        "persistence_s": st.sampled_from([0, 50]),
        "prefix": st.sampled_from([24, 32, 33, 129]),
        "one_packet": st.booleans(),
        "max_connections": st.sampled_from([0, 2]),
        "slow_start_s": st.sampled_from([0, 30]),
        "local_addresses": st.sampled_from([["10.0.0.200"], ["fd00::c8"], []]),
        "tcp_timeout_s": st.sampled_from([0, 40]),
        "udp_timeout_s": st.sampled_from([0, 40]),
        "colour": st.just("red"),
    },
)
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "scheduler": st.sampled_from(["rr", "wrr", "lc", "wlc"]),
        "persistence_s": st.sampled_from([0, 50]),
        "slow_start_s": st.sampled_from([0, 30]),
        "tcp_timeout_s": st.sampled_from([0, 40]),
        "local_addresses": st.sampled_from([["10.0.0.200"], []]),
    },
)
SERVER_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "port": st.sampled_from([80, 80, 8080, 0]),
        "forward": st.sampled_from(["nat", "nat", "dr", "tun", "fullnat"]),
        "weight": st.sampled_from([0, 1, 5, 65535, 65536, -1]),
        "upper": st.sampled_from([0, 2]),
        "tunnel": st.just("ipip"),
        "colour": st.just("red"),
    },
)
GOOD_SERVERS = st.fixed_dictionaries(
    {"port": st.just(80)},
    optional={
        "weight": st.sampled_from([0, 1, 5]),
        "forward": st.sampled_from(["nat", "dr", "tun", "fullnat"]),
    },
)


class LiveChanges(RuleBasedStateMachine):
    """Up to four services with up to three real servers each."""

    version = 4

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.version, now=1000.5)
        self.wanted = Wanted((900, 120, 300))
        self.model = Model()
        self.the_configuration_is_saved()

    def selector(self, name: str) -> dict[str, Any]:
        """Return the object that names a service."""
        if name == "marked":
            return {"fwmark": MARK, "family": self.version}
        protocol, vip = {"web": ("tcp", 1), "dns": ("udp", 1), "sticky": ("tcp", 2)}[name]
        return {"protocol": protocol, "address": self.world.vip(vip), "port": 80}

    def server(self, number: int, options: dict[str, Any]) -> dict[str, Any]:
        """Return the object of a real server; the one of number 0 has the other IP version."""
        other = "fd00::9" if self.version == 4 else "10.0.0.9"
        return {"address": self.world.rip(number) if number else other} | options

    # --- requests -------------------------------------------------------------------------------

    @initialize(each=st.lists(GOOD, min_size=4, max_size=4))
    def services_come(self, each: list[Any]) -> None:
        """Ask for all services, with two real servers each."""
        for name, good in zip(ALL, each, strict=True):
            self.a_service_comes_or_is_edited(name, good, 2)

    @rule(name=NAMES, good=GOOD, count=st.integers(0, 3))
    def a_service_comes_or_is_edited(self, name: str, good: dict[str, Any], count: int) -> None:
        """Ask for a service with real servers, or for another one of the same name."""
        service = self.selector(name)
        if label(service) in self.model.services:
            self.request([{"command": "edit_service", "service": service | good}])
            return
        commands = [{"command": "add_service", "service": service | good}]
        for number in range(1, count + 1):
            server = self.server(number, {"port": 80})
            commands.append({"command": "add_server", "service": service, "server": server})
        self.request(commands)

    @rule(name=NAMES, comes_back=st.booleans())
    def a_service_goes(self, name: str, *, comes_back: bool) -> None:
        """Ask for a service to go, and to come back, in the same list."""
        service = self.selector(name)
        server = self.server(1, {"port": 80})
        commands: list[dict[str, Any]] = [{"command": "remove_service", "service": service}]
        if comes_back:
            commands.append({"command": "add_service", "service": service})
            commands.append({"command": "add_server", "service": service, "server": server})
        self.request(commands)

    @rule(data=st.data(), options=GOOD_SERVERS)
    def a_server_is_edited(self, data: st.DataObject, options: dict[str, Any]) -> None:
        """Ask for another weight of a real server."""
        self._about_one(data, {"command": "edit_server"}, options)

    @rule(data=st.data(), deadline_s=st.sampled_from([None, 0, 7, 100]))
    def a_server_is_drained(self, data: st.DataObject, deadline_s: int | None) -> None:
        """Ask for a drain."""
        given = {} if deadline_s is None else {"deadline_s": deadline_s}
        self._about_one(data, {"command": "drain"} | given, {})

    @rule(data=st.data(), name=NAMES, is_removed=st.booleans())
    def a_deadline_passes(self, data: st.DataObject, name: str, *, is_removed: bool) -> None:
        """Ask for a drain with a deadline, and wait for that, though the server may be removed."""
        self.many_clients_use_a_service(name)
        places = self.model.has(self.selector(name))
        if places:
            address, port = data.draw(st.sampled_from(places))
            ends = {"service": self.selector(name), "server": {"address": address, "port": port}}
            self.request([{"command": "drain", "deadline_s": 1, **ends}])
            if is_removed:
                self.request([{"command": "remove_server", **ends}])
            self.time_goes_by(1)

    @rule(data=st.data(), what=st.sampled_from(["undrain", "remove_server"]))
    def a_server_is_undrained_or_goes(self, data: st.DataObject, what: str) -> None:
        """Ask for a real server to have its weight again, or to go."""
        self._about_one(data, {"command": what}, {})

    @rule(name=NAMES, number=NUMBERS, options=GOOD_SERVERS)
    def a_server_comes(self, name: str, number: int, options: dict[str, Any]) -> None:
        """Ask for a real server."""
        server = self.server(number, options)
        service = self.selector(name)
        self.request([{"command": "add_server", "service": service, "server": server}])

    @rule(data=st.data())
    def somebody_asks_for_anything(self, data: st.DataObject) -> None:
        """Ask for some changes, of which some may be wrong."""
        self.request([self._any(data) for _ in range(data.draw(st.integers(1, 4)))])

    @rule()
    def the_configuration_is_saved(self) -> None:
        """Write down what is wanted, but for drains, as a configuration has it."""
        self.saved, self.file = deepcopy(self.model), Wanted((0, 0, 0))
        self.file.do(each for each in self.wanted.commands() if not isinstance(each, Drain))

    @rule()
    def the_configuration_is_read_again(self) -> None:
        """Let everything be as it was saved."""
        commands = difference(self.wanted, self.file)
        told = self.wanted.would_change(commands)
        self.world.balancer.apply(commands, self.world.now)
        assert self.wanted.do(commands) == told
        self.model = self.model.reloaded(self.saved)
        self._settle()
        assert difference(self.wanted, self.file) == []

    def _about_one(
        self, data: st.DataObject, command: dict[str, Any], options: dict[str, Any]
    ) -> None:
        """Ask for a change of a real server that there is, if there is any."""
        places = [(name, place) for name in ALL for place in self.model.has(self.selector(name))]
        if places:
            name, (address, port) = data.draw(st.sampled_from(places))
            server = {"address": address} | options | {"port": port}
            self.request([command | {"service": self.selector(name), "server": server}])

    def _any(self, data: st.DataObject) -> dict[str, Any]:
        """Return a command about something that there is, more often than not."""
        verb = data.draw(VERBS)
        if verb == "set_timeouts":
            words = st.sampled_from(["tcp_s", "tcp_fin_s", "udp_s"])
            given = st.dictionaries(words, st.sampled_from([0, 30, 900]))
            return {"command": verb, **data.draw(given)}
        if verb in {"clear", "explode"} or (verb == "zero" and data.draw(st.booleans())):
            return {"command": verb}
        there = [name for name in ALL if label(self.selector(name)) in self.model.services]
        service = self.selector(data.draw(st.sampled_from([*there * 4, *ALL])))
        if verb in {"add_service", "edit_service"}:
            service |= data.draw(st.one_of(GOOD, OPTIONS))
        command: dict[str, Any] = {"command": verb, "service": service}
        if verb in {"add_server", "edit_server"}:
            options = data.draw(st.one_of(GOOD_SERVERS, SERVER_OPTIONS))
            command["server"] = self.server(data.draw(st.integers(0, 3)), options)
        elif verb in {"remove_server", "drain", "undrain"}:
            command["server"] = self.server(data.draw(NUMBERS), {"port": 80})
        if verb == "drain" and data.draw(st.booleans()):
            command["deadline_s"] = data.draw(st.sampled_from([-1, 0, 7]))
        return command

    def request(self, commands: list[dict[str, Any]]) -> None:
        """Ask for changes, and compare what becomes of that with the model."""
        world = self.world
        given: dict[str, object] = {"commands": deepcopy(commands)}
        try:
            after = self.model.after(commands, world.now)
        except Refused as refusal:
            self._refuse(given, str(refusal))
            return
        read = read_commands(given)
        before = list(self.wanted.commands())
        told = self.wanted.would_change(read)
        assert list(self.wanted.commands()) == before
        done = world.balancer.apply(read, world.now)
        assert self.wanted.do(read) == told
        assert [each for each in told if each in done.all] == told
        self.model = after
        self._settle()

    def _settle(self) -> None:
        """Let everything that follows from a change follow, as the engine does."""
        world = self.world
        for server in self._servers():
            server.set_way(
                Way(1500, pack("10.0.0.254" if len(server.address) == 4 else "fd00::fe"))
            )
        world.balancer.strays.learn()

    def _refuse(self, given: dict[str, object], why: str) -> None:
        wanted, there = list(self.wanted.commands()), all_there_is(self.world)
        with pytest.raises((ControlError, ValueError), match=why or None):
            self.wanted.would_change(read_commands(given))
        if why:
            with pytest.raises(ControlError, match=why):
                self.wanted.do(read_commands(given))
        if SEEN_ELSEWHERE.search(why):
            with pytest.raises(ControlError, match=why):
                self.world.balancer.apply(read_commands(given), self.world.now)
        assert list(self.wanted.commands()) == wanted
        assert all_there_is(self.world) == there

    # --- packets and time -----------------------------------------------------------------------

    @rule(client=CLIENTS, cport=CPORTS)
    def a_client_uses_all_services(self, client: int, cport: int) -> None:
        """Let a client connect to all services, or go on where it is connected."""
        for name in ALL:
            self._use(name, client, cport)

    @rule(name=NAMES)
    def many_clients_use_a_service(self, name: str) -> None:
        """Let all clients connect, or go on."""
        for client in (1, 2, 3):
            self._use(name, client, 1000)

    def _use(self, name: str, client: int, cport: int) -> None:
        """Let a client open a connection, or send on the one it has, which leads where it led."""
        protocol = "udp" if name == "dns" else "tcp"
        vip = {"sticky": 2, "marked": 3}.get(name, 1)
        key = protocol, self.world.client(client), cport, self.world.vip(vip)
        link = self.model.links.get(key)
        if link is not None:
            self._send(key, "A")
            assert _place(self._found(key).path.server) == link["server"]["place"]
            if self.model.is_there(link["server"]):
                self.model.used(key, link["server"], self.world.now)
            return  # else the packet was dropped, as the kernel drops it, until the server is back
        self._send(key, "S")
        found = self._found(key)
        if found is None:
            return
        server = found.path.server
        service = self.model.services[label(self.selector(name))]
        chosen = service["servers"][_place(server)]
        assert not chosen["drained"]
        assert chosen["is"]["weight"] or service["is"]["persistence_s"]
        service["opened"] += 1
        if found.path.server.config.forwarder.name == "fullnat" and protocol == "tcp":
            self._answer(found)
        self._send(key, "A")
        self.model.used(key, chosen, self.world.now)

    def _send(self, key: tuple[str, str, int, str], what: str) -> None:
        protocol, client, cport, vip = key
        segment = self.world.from_client(what if protocol == "tcp" else "", protocol=protocol)
        ends = {"source": client, "source_port": cport, "destination": vip}
        mark = MARK if vip == self.world.vip(3) else 0
        self.world.handle(raw(type(segment)(**{**vars(segment), **ends})), mark=mark)
        self.world.sent()
        self.world.balancer.outbox.answers.clear()

    def _answer(self, connection: Connection) -> None:
        """Let the real server of a new connection shake hands."""
        (rip, rport), (lip, lport) = split_key(connection.reply_key)
        segment = self.world.from_client("SA")
        ends = {"source": text(rip), "source_port": rport}
        ends |= {"destination": text(lip), "destination_port": lport}
        self.world.handle(raw(type(segment)(**{**vars(segment), **ends})))
        self.world.sent()

    def _found(self, key: tuple[str, str, int, str]) -> Any:
        return self._living().get(key)

    def _living(self) -> dict[Any, Connection]:
        return {_key(each): each for each in self.world.balancer.flows.table}

    @rule(seconds=st.sampled_from([1, 1, 8, 31, 901]))
    def time_goes_by(self, seconds: int) -> None:
        """Let time go by, and what is due be done, at whole seconds; all else comes between."""
        for step in (1, seconds - 1):
            self.world.now += step - 0.5
            self.world.tick()
            self.model.time_passed(self.world.now)
            self.world.now += 0.5
        self.world.sent()

    # --- what must hold -------------------------------------------------------------------------

    def _servers(self) -> list[RealServer]:
        services = self.world.balancer.services
        return [*(server for each in services for server in each.servers), *services.removed()]

    @invariant()
    def the_supervisor_and_the_balancer_have_what_the_model_has(self) -> None:
        """Compare all services and servers, and in which order they stand."""
        model, balancer = self.model, self.world.balancer
        wanted = self.wanted
        assert [*wanted.timeouts] == model.timeouts == [*balancer.timeouts()]
        expected = [
            (each["is"], [_written(server["is"]) for server in each["servers"].values()])
            for each in model.services.values()
        ]
        kept = [
            (written_service(each.config), [*map(written_server, each.servers.values())])
            for each in wanted.services.values()
        ]
        assert kept == expected
        assert _held(balancer) == sorted(expected, key=lambda each: "fwmark" in each[0])

    @rule()
    def who_starts_anew_gets_the_same(self) -> None:
        """Tell a balancer that has nothing what is wanted."""
        fresh = Balancer(self.world.make_scheduler, now=self.world.now)
        fresh.apply(self.wanted.commands(), self.world.now)
        assert _held(fresh) == _held(self.world.balancer)
        assert fresh.timeouts() == self.world.balancer.timeouts()
        assert _drained(fresh) == _drained(self.world.balancer)

    @invariant()
    def a_listing_shows_what_is_drained_and_what_servers_have(self) -> None:
        """Compare the listing's weights and counts."""
        model = self.model
        links = Counter(id(link["server"]) for link in model.links.values())
        for service in self.world.balancer.services:
            shown: Any = service_entry(service, self.world.now)
            kept = model.services[label({**selector(service.key)})]
            assert shown["stats"]["connections"] == kept["opened"]
            assert len(shown["servers"]) == len(kept["servers"])
            for each in shown["servers"]:
                server = kept["servers"][each["address"], each["port"]]
                assert each["active"] + each["inactive"] == links[id(server)]
                assert (each["drain"] is not None) == server["drained"]
                weight = 0 if server["drained"] else server["is"]["weight"]
                assert (each["effective_weight"] > 0) == (weight > 0)
                assert each["effective_weight"] <= weight
                if each["slow_start"] is None:
                    assert each["effective_weight"] == weight

    @invariant()
    def connections_are_those_of_the_model(self) -> None:
        """Compare the connections, and count them and the templates where they are counted."""
        table = self.world.balancer.flows.table
        living = self._living()
        assert {key: _place(each.path.server) for key, each in living.items()} == {
            key: link["server"]["place"] for key, link in self.model.links.items()
        }
        assert len(living) == table.count == self.world.balancer.counters()["connections"]
        templates = (*table.templates.values(), *table.retired)
        assert len(templates) == table.template_count
        has = Counter(each.path.server for each in living.values())
        promised = Counter(each.server for each in templates)
        controlled = Counter(each.template for each in living.values() if each.template)
        servers = self._servers()
        assert {each for each in (*has, *promised) if each not in servers} == set()
        for server in servers:
            assert (server.total, server.templates) == (has[server], promised[server])
        assert all(each.controlled == controlled[each] for each in templates)

    def teardown(self) -> None:
        """Remove everything, and let all timers run out: nothing is left."""
        self.request([{"command": "clear"}])
        for _ in range(3):
            self.world.now += 10_000
            self.world.tick()
        table = self.world.balancer.flows.table
        assert (table.by_key, table.templates, table.count) == ({}, {}, 0)
        assert list(self.world.balancer.services.removed()) == []
        assert dict(self.wanted.addresses()) == {}
        assert len(self.world.balancer.transitions.drains) == 0


def _key(connection: Connection) -> tuple[str, str, int, str]:
    (client, cport), (vip, _) = split_key(connection.key)
    return PROTOCOLS[connection.protocol], text(client), cport, text(vip)


def _place(server: RealServer) -> tuple[str, int]:
    return text(server.address), server.port


def _held(balancer: Balancer) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return [
        (
            written_service(each.config),
            [written_server(server.config) for server in reversed(each.servers)],
        )
        for each in balancer.services
    ]


def _drained(balancer: Balancer) -> list[bool]:
    return [server.drain is not None for each in balancer.services for server in each.servers]


def _written(server: dict[str, Any]) -> dict[str, Any]:
    """Return the object of a real server with all that is not given."""
    own: dict[str, Any] = {
        "tun": {"tunnel": "ipip", "tunnel_checksum": False},
        "fullnat": {"client_address": "toa", "toa_kind": 254},
    }.get(server["forward"], {})
    return SERVER | server | own


class LiveChanges6(LiveChanges):
    """The same over IPv6."""

    version = 6


LiveChanges.TestCase.settings = LiveChanges6.TestCase.settings = examples(
    60, stateful_step_count=30
)
TestIpv4AgreesWithTheModel = LiveChanges.TestCase
TestIpv6AgreesWithTheModel = LiveChanges6.TestCase
