"""One door for changes: all commands of a list are done, or none is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.commands import (
    AddServer,
    AddService,
    Clear,
    Drain,
    EditServer,
    EditService,
    KeepPorts,
    RemoveServer,
    RemoveService,
    SetHealth,
    SetSettings,
    SetTimeouts,
    Undrain,
    Zero,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.service import server_name
from lvsd.core.settings import Settings
from lvsd.core.timeouts import Timing
from lvsd.core.values import Health, ServerConfig, ServiceConfig, ServiceKey
from lvsd.errors import ControlError, LvsdError, PluginError
from lvsd.packet.address import pack
from schedulers import BUILT_IN
from schedulers.base import Flow, Server
from tests.unit.core.world import FirstAdded, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.core.commands import Command
    from lvsd.core.service import RealServer, Service

FLOW = Flow(pack("198.51.100.9"), 999, pack("192.0.2.1"), 80)
CALLS = ("start", "add", "edit", "remove")


class Failing(FirstAdded):
    """Raises in one call, after the work of that call is done."""

    name = "failing"

    def __init__(self, call: str = "") -> None:
        super().__init__()
        self.call = call
        self.calls: list[str] = []

    def _done(self, call: str) -> None:
        self.calls.append(call)
        if call == self.call:
            raise RuntimeError(call)

    def start(self, servers: Sequence[Server]) -> None:
        """Take over."""
        self.servers = list(reversed(servers))
        self._done("start")

    def add(self, server: Server) -> None:
        """Take in a server."""
        super().add(server)
        self._done("add")

    def remove(self, server: Server) -> None:
        """Let go of a server."""
        super().remove(server)
        self._done("remove")

    def edit(self, server: Server) -> None:  # noqa: ARG002 - the base has it
        """Notice an edit."""
        self._done("edit")


class Unforkable(Failing):
    """Cannot be copied."""

    name = "unforkable"

    def __init__(self) -> None:
        super().__init__()
        self.secret = (each for each in "a generator")


def _state_of(thing: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """Return all that a thing is, as plain values; the same thing twice is said to be so.

    ``seen`` keeps each of them alive with its number: another one might have its id otherwise.
    """
    if thing is None or isinstance(thing, (bool, int, float, str, bytes, type)):
        return thing
    if id(thing) in seen:
        return f"the same as {seen[id(thing)][0]}"
    seen[id(thing)] = len(seen), thing
    if isinstance(thing, dict):
        return sorted((repr(_named(key)), _state_of(value, seen)) for key, value in thing.items())
    if isinstance(thing, (set, frozenset)):
        return sorted(map(repr, thing))
    if isinstance(thing, (tuple, list)):
        return [_state_of(each, seen) for each in thing]
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    names += sorted(getattr(thing, "__dict__", {}))
    return type(thing).__name__, [(name, _state_of(getattr(thing, name), seen)) for name in names]


def _named(key: Any) -> Any:
    return getattr(key, "label", None) or key


def _state(world: World) -> Any:
    """Return what the operator, the packets and the schedulers can see of the director."""
    balancer = world.balancer
    seen: dict[int, tuple[int, Any]] = {}
    services = [
        (
            service.key,
            service.config,
            _scheduler_state(service),
            [_server_state(each) for each in service.servers],
            sorted((place, _server_state(each)) for place, each in service.removed.items()),
            _state_of((service.meter, service.turn, service.share.__class__), seen),
            (service.share.entries, service.share.reserved),
            service.was_persistent,
            str(service.fault),
            (service.easing, service.has_ramps),
            id(service),
        )
        for service in balancer.services
    ]
    shares = balancer.flows.table.shares
    return (
        services,
        sorted(_server_state(each) for each in balancer.services.removed()),
        dict(balancer.services.vips),
        (len(balancer.transitions.drains), len(balancer.transitions.ramps)),
        (shares.unused, len(shares.opening)),
        repr(balancer.settings),
        balancer.flows.local_ports.kept,
        balancer.flows.timeouts.lists,
        [tuple(row) for row in balancer.connections()],
        [world.balancer.services.lookup(6, pack(world.vip(n)), 2000, 0) for n in range(1, 5)],
    )


def _server_state(server: RealServer) -> Any:
    paths = [
        (
            key[1:4],
            path.users,
            path.timeouts,  # type: ignore[attr-defined]  # nothing else is there
            path.server_stats is server.meter.stats,  # type: ignore[attr-defined]
            path.service_stats is server.service.meter.stats,  # type: ignore[attr-defined]
        )
        for key, path in server.paths.items()
    ]
    return (
        id(server),
        id(server.service),
        server.settled[1:],
        repr(server.config),
        (server.active, server.total, server.templates, server.available, server.is_serving),
        server.way,
        server.mtu,
        repr(server.meter),
        paths,
    )


def _scheduler_state(service: Service) -> Any:
    return _state_of(
        vars(service.scheduler), {id(each): (number, each) for number, each in _known(service)}
    )


def _known(service: Service) -> list[tuple[int, RealServer]]:
    """Return a service's servers, so that a scheduler's state names them and does not enter."""
    return [(id(each), each) for each in (*service.servers, *service.removed.values())]


def _world() -> World:
    """Return a director in which everything has happened that a change may forget."""
    world = World()
    world.serve(servers=3, scheduler="wrr")
    world.serve(vip=2, servers=2, persistence_s=300, forwarder=Tun())
    world.serve(vip=3, servers=2, scheduler=Failing(), max_connections=50)
    world.serve(vport=21, vip=1, servers=1, persistence_s=60)
    world.serve(fwmark=7, servers=2, scheduler="rr")
    slow = world.serve(vip=5, servers=2, slow_start_s=60, scheduler="wlc")
    world.edit(slow, name="slow")
    for client in range(1, 5):
        for vip in (1, 2, 3):
            world.handle(world.from_client(client=client, vip=vip))
        world.handle(world.from_client(client=client, vip=4), mark=7)
    world.sent()
    first, second, *_ = world.balancer.services
    marked = world.balancer.services.get(ServiceKey(fwmark=7, family=4))
    world.apply(Drain(slow.key, *slow.servers[1].config.place, 900))
    world.add_server(slow, 3, weight=4)
    world.add_server(slow, 4)
    world.apply(SetHealth(slow.key, *slow.servers[0].config.place, Health.REMOVED))
    world.edit_server(first.servers[0], upper=2)
    world.remove_server(first, 1)
    world.remove_server(second, 1, 80)
    gone = world.serve(vip=4, servers=1)
    world.handle(world.from_client(vip=4))
    world.remove(gone)
    world.wait(3)
    world.apply(Zero(marked.key))
    return world


def _services(world: World) -> dict[str, Service]:
    names = ("web", "tunnelled", "plug-in", "ftp", "slow", "mark")
    return dict(zip(names, world.balancer.services, strict=True))


def _gone_key(world: World) -> ServiceKey:
    return ServiceKey(6, pack(world.vip(4)), 80)


def _commands(world: World) -> dict[str, list[Command]]:
    """Return lists of commands that can be done, by what they do."""
    web, tunnelled, plugin, ftp, slow, mark = _services(world).values()
    new = ServerConfig(pack(world.rip(9)), 8080, Nat(), weight=5)
    newest = web.servers[0].config
    overloaded = replace(newest, upper=1)
    known = web, plugin, mark
    return {
        "a service is added": [
            AddService(ServiceConfig(ServiceKey(6, pack(world.vip(9)), 0), "rr"))
        ],
        "a service comes back with its server": [
            AddService(ServiceConfig(_gone_key(world), timing=Timing(tcp_s=7))),
            AddServer(_gone_key(world), ServerConfig(pack(world.rip(1)), 8080, Nat(), upper=1)),
        ],
        "a service is replaced": [
            RemoveService(web.key),
            AddService(ServiceConfig(web.key, "sh")),
            AddServer(web.key, newest),
        ],
        "a service is edited": [
            EditService(replace(web.config, name="x", persistence_s=9, timing=Timing(5, 6, 7))),
            EditService(replace(web.config, max_connections=3, local=LocalPool((b"1234",)))),
        ],
        "another scheduler takes over": [
            EditService(replace(web.config, scheduler="lc")),
            EditServer(web.key, overloaded),
            EditService(replace(web.config, scheduler="wrr")),
        ],
        "a scheduler is told something, and another one takes over": [
            AddServer(web.key, new),
            EditService(replace(web.config, scheduler="sed")),
            RemoveServer(web.key, *new.place),
        ],
        "services are removed": [
            RemoveService(each.key) for each in (web, tunnelled, plugin, ftp, slow, mark)
        ],
        "a server is added": [AddServer(each.key, new) for each in (web, plugin, mark)],
        "a server comes back": [
            AddServer(web.key, ServerConfig(pack(world.rip(1)), 8080, Dr(), weight=0, upper=1)),
            AddServer(tunnelled.key, ServerConfig(pack(world.rip(1)), 80, Fullnat())),
        ],
        "servers are edited": [
            EditServer(each.key, replace(server.config, weight=0, upper=1, forwarder=Dr()))
            for each in (web, plugin, tunnelled)
            for server in each.servers
        ],
        "an overload flag is set and cleared": [
            EditServer(web.key, overloaded),
            EditServer(web.key, replace(newest, upper=0)),
        ],
        "servers are removed": [
            RemoveServer(each.key, *server.config.place)
            for each in (web, plugin, tunnelled, mark)
            for server in each.servers[1:]
        ],
        "a server goes and comes back": [
            RemoveServer(web.key, *newest.place),
            AddServer(web.key, newest),
        ],
        "servers are drained": [
            *(Drain(each.key, *each.servers[0].config.place, 60) for each in (web, plugin, slow)),
            *(Drain(each.key, *each.servers[0].config.place) for each in (web, plugin, slow)),
        ],
        "a server is drained no longer": [Undrain(slow.key, *slow.servers[3].config.place)],
        "servers are not up": [
            *(SetHealth(each.key, *each.servers[0].config.place, Health.STANDBY) for each in known),
            *(
                SetHealth(each.key, *each.servers[0].config.place, Health.QUIESCED)
                for each in known
            ),
            SetHealth(mark.key, *mark.servers[1].config.place, Health.REMOVED),
        ],
        "a server is up again": [SetHealth(slow.key, *slow.servers[0].config.place, Health.UP)],
        "a server is not up, goes and comes back": [
            SetHealth(web.key, *newest.place, Health.REMOVED),
            RemoveServer(web.key, *newest.place),
            AddServer(web.key, newest),
        ],
        "a server that is not up is edited": [
            EditServer(slow.key, replace(slow.servers[0].config, weight=7)),
            SetHealth(slow.key, *slow.servers[0].config.place, Health.UP),
        ],
        "a drained server is edited": [
            Drain(web.key, *newest.place),
            EditServer(web.key, replace(newest, weight=7)),
        ],
        "a server is drained, goes and comes back": [
            Drain(slow.key, *slow.servers[1].config.place),
            RemoveServer(slow.key, *slow.servers[1].config.place),
            AddServer(slow.key, slow.servers[1].config),
        ],
        "a server begins slowly": [
            EditServer(slow.key, replace(slow.servers[1].config, weight=0)),
            EditServer(slow.key, replace(slow.servers[1].config, weight=2)),
        ],
        "servers begin slowly no more": [EditService(replace(slow.config, slow_start_s=0))],
        "servers begin slowly in another way": [
            EditService(replace(slow.config, scheduler="rr")),
            EditService(replace(slow.config, scheduler="mh")),
            EditService(replace(slow.config, scheduler="ovf")),
            Undrain(slow.key, *slow.servers[3].config.place),
            EditService(replace(slow.config, scheduler="sed")),
        ],
        "timeouts are set": [SetTimeouts(1, 2, 3), SetTimeouts(0, 7, 0)],
        "settings are set": [
            SetSettings(Settings(sloppy_tcp=True, expire_nodest_conn=True, max_connections=50)),
            KeepPorts(((5000, 5999),)),
        ],
        "all is counted from zero": [Zero(), Zero(web.key)],
    }


def _refused(world: World) -> dict[str, Command]:
    """Return a command of each kind that lvsd refuses whatever came before it."""
    ftp = _services(world)["ftp"]
    nowhere = ServiceKey(17, pack(world.vip(8)), 53)
    unknown = ServerConfig(pack(world.rip(200)), 1, Nat())
    present = ftp.servers[0].config
    return {
        "AddService": AddService(ServiceConfig(ServiceKey(17, b"1234", 1), "no such scheduler")),
        "EditService": EditService(ServiceConfig(nowhere)),
        "RemoveService": RemoveService(nowhere),
        "AddServer to nothing": AddServer(nowhere, present),
        "EditServer": EditServer(ftp.key, unknown),
        "RemoveServer": RemoveServer(nowhere, b"1234", 1),
        "Drain": Drain(nowhere, b"1234", 1, 5),
        "Drain of nothing": Drain(ftp.key, *unknown.place),
        "Undrain": Undrain(ftp.key, *unknown.place),
        "SetHealth": SetHealth(ftp.key, *unknown.place, Health.REMOVED),
        "SetHealth of nothing": SetHealth(nowhere, b"1234", 1, Health.UP),
        "Zero": Zero(nowhere),
    }


DONE = sorted(_commands(_world()))
REFUSED = sorted(_refused(_world()))


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("done", DONE)
def test_a_list_that_fails_at_its_last_command_changes_nothing(done: str, refused: str) -> None:
    world = _world()
    before = _state(world)
    commands = _commands(world)[done]
    with pytest.raises(LvsdError):
        world.apply(*commands, _refused(world)[refused])
    assert _state(world) == before


@pytest.mark.parametrize("done", DONE)
def test_the_same_list_without_its_last_command_changes_something(done: str) -> None:
    world = _world()
    before = _state(world)
    changes = world.apply(*_commands(world)[done])
    assert _state(world) != before
    assert changes.at == world.now
    assert changes.all


@pytest.mark.parametrize("call", CALLS[:3])
@pytest.mark.parametrize("done", DONE)
def test_a_list_that_a_plug_in_fails_at_changes_nothing(done: str, call: str) -> None:
    world = _world()
    plugin = _services(world)["plug-in"]
    last: dict[str, Command] = {
        "start": EditService(replace(plugin.config, flags=frozenset({"another"}))),
        "add": AddServer(plugin.key, ServerConfig(pack(world.rip(77)), 80, Nat())),
        "edit": EditServer(plugin.key, replace(plugin.servers[0].config, weight=9)),
    }
    commands = _commands(world)[done]
    if any(isinstance(each, RemoveService) and each.key == plugin.key for each in commands):
        commands = [each for each in commands if each != RemoveService(plugin.key)]
    if done == "servers are edited" and call == "edit":
        commands = [each for each in commands if getattr(each, "service", None) != plugin.key]
    if done == "a server is added" and call == "add":
        commands = [each for each in commands if getattr(each, "service", None) != plugin.key]
    assert isinstance(plugin.scheduler, Failing)
    if call == "start":
        world.given["failing"] = Failing("start")
    else:
        plugin.scheduler.call = call
    before = _state(world)
    with pytest.raises(PluginError, match=f"RuntimeError: {call}"):
        world.apply(*commands, last[call])
    assert _state(world) == before


def test_a_server_that_a_plug_in_fails_to_let_go_of_is_back_if_the_list_is_refused() -> None:
    world = _world()
    plugin = _services(world)["plug-in"]
    assert isinstance(plugin.scheduler, Failing)
    plugin.scheduler.call = "remove"
    before = _state(world)
    oldest = plugin.servers[-1].config.place
    with pytest.raises(ControlError):
        world.apply(RemoveServer(plugin.key, *oldest), Zero(ServiceKey(fwmark=99)))
    assert _state(world) == before
    world.apply(RemoveServer(plugin.key, *oldest))
    assert str(plugin.fault) == "remove"


def test_a_command_that_is_no_command_of_its_list_any_more_changes_nothing() -> None:
    world = _world()
    before = _state(world)
    web = _services(world)["web"]
    place = web.servers[0].config.place
    with pytest.raises(ControlError, match="No such destination"):
        world.apply(RemoveServer(web.key, *place), RemoveServer(web.key, *place))
    with pytest.raises(ControlError, match="No such service"):
        world.apply(RemoveService(web.key), RemoveService(web.key))
    with pytest.raises(ControlError, match="Service already exists"):
        world.apply(AddService(web.config))
    with pytest.raises(ControlError, match="Destination already exists"):
        world.apply(AddServer(web.key, web.servers[0].config))
    assert _state(world) == before


def _picked(service: Service, flows: Sequence[Flow]) -> list[str]:
    """Return the real servers that take new connections, which all stay."""
    picked = []
    for flow in flows:
        server = service.scheduler.pick(flow, 1000.0)
        assert server is not None
        server.open()
        server.activate()
        service.scheduler.changed(server)
        picked.append(server_name(server))
    return picked


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_refused_change_leaves_each_scheduler_at_its_place(name: str) -> None:
    picks = []
    for is_refused in (True, False):
        world = World()
        flows = [
            Flow(pack(world.client(n % 7 + 1)), 1000 + n, pack(world.vip(n % 9 + 1)), 80)
            for n in range(60)
        ]
        service = world.serve(servers=4, scheduler=name)
        for number, server in enumerate(service.servers):
            world.edit_server(server, weight=10 * number + 10)
        first = _picked(service, flows[:21])
        if is_refused:
            newest, second = service.servers[0].config, service.servers[1].config
            with pytest.raises(ControlError):
                world.apply(
                    AddServer(service.key, ServerConfig(b"1234", 80, Nat(), weight=100)),
                    EditServer(service.key, replace(newest, weight=50)),
                    RemoveServer(service.key, *second.place),
                    Zero(ServiceKey(fwmark=1)),
                )
        picks.append(first + _picked(service, flows[21:]))
    assert picks[0] == picks[1]
    assert len(set(picks[0])) > 1 or name == "fo"


def test_a_scheduler_that_cannot_be_forked_starts_anew_after_a_refusal() -> None:
    world = World()
    service = world.serve(servers=2, scheduler=Unforkable())
    servers = list(service.servers)
    anew = world.given["unforkable"] = Unforkable()
    with pytest.raises(ControlError):
        world.apply(RemoveServer(service.key, *servers[0].config.place), Zero(ServiceKey(fwmark=1)))
    assert service.scheduler is anew
    assert anew.servers == list(reversed(servers))
    assert service.servers == servers


def test_one_that_cannot_be_forked_nor_started_anew_goes_on_and_is_at_fault() -> None:
    world = World()
    service = world.serve(servers=2, scheduler=Unforkable())
    present = service.scheduler
    failing = world.given["unforkable"] = Unforkable()
    failing.call = "start"
    with pytest.raises(ControlError):
        world.apply(
            EditServer(service.key, replace(service.servers[0].config, weight=3)),
            Zero(ServiceKey(fwmark=1)),
        )
    assert service.scheduler is present
    assert isinstance(service.fault, PluginError)
    assert [each.weight for each in service.servers] == [1, 1]


def test_a_refused_edit_leaves_an_overload_flag_that_stands_between_its_thresholds() -> None:
    world = World()
    service = world.serve("udp", scheduler=Failing())
    (server,) = service.servers
    world.edit_server(server, upper=4, lower=2)
    for cport in range(1, 5):
        world.handle(world.from_client(protocol="udp", cport=cport))
        world.wait(10)
    world.wait(265)
    assert (server.total, server.overloaded) == (3, True)
    with pytest.raises(ControlError):
        world.apply(
            EditServer(service.key, replace(server.config, upper=0)), Zero(ServiceKey(fwmark=1))
        )
    assert (server.total, server.overloaded) == (3, True)


def test_to_take_back_a_removal_of_all_services_costs_what_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has its place again, and none is compared with all others for that."""
    world, number = World(), 100
    keys = [world.serve(vport=port, servers=0).key for port in range(80, 80 + number)]
    keys += [world.serve(fwmark=mark, servers=0).key for mark in range(1, 1 + number)]
    looks: list[object] = []

    def serial(item: tuple[object, Service]) -> int:
        looks.append(item)
        return item[1].serial

    monkeypatch.setattr("lvsd.core.service_table._serial", serial)
    with pytest.raises(ControlError):
        world.apply(Clear(), RemoveService(keys[0]))
    assert [each.key for each in world.balancer.services] == keys
    assert 0 < len(looks) <= 4 * len(keys)
