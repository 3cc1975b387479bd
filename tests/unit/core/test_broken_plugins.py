"""A third party's plug-in that raises or lies costs its own service something, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP

from forwarders import Fullnat, Nat, Tun
from lvsd.core.local_pool import LocalPool
from lvsd.core.service import RealServer
from lvsd.core.settings import Settings
from lvsd.core.values import ServerConfig, Way
from lvsd.core.verdict import Verdict
from lvsd.errors import PluginError
from lvsd.packet.address import pack
from tests.unit.core.world import FirstAdded, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.base import Ends, Forwarder
    from forwarders.plan import Plan
    from schedulers.base import Flow, Server


class Broken(FirstAdded):
    """Picks, but raises whenever it is told something."""

    def changed(self, server: Server) -> None:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("changed")

    def tick(self, now: float) -> None:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("tick")


class Listening(FirstAdded):
    """Notes when it is told to do its periodic work."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        """Note the time."""
        self.ticks.append(now)


def test_connections_of_a_broken_scheduler_end_and_are_counted() -> None:
    world = World()
    service = world.serve(scheduler=Broken())
    world.establish()
    world.wait(1000)
    assert (world.states(), service.servers[0].total) == ([], 0)


def test_what_a_scheduler_raised_is_kept_for_the_log() -> None:
    world = World()
    service = world.serve(scheduler=Broken())
    assert service.fault is None
    world.establish()
    assert str(service.fault) == "changed"
    world.tick()
    assert str(service.fault) == "tick"


def test_a_broken_scheduler_does_not_hold_up_other_services() -> None:
    world = World()
    world.serve(scheduler=Broken())
    listening = Listening()
    world.serve(vip=2, scheduler=listening)
    world.tick()
    assert listening.ticks == [world.balancer.now]


class Raising(FirstAdded):
    """Raises in the calls that a test names, after it has done half of its work."""

    kind: type[BaseException] = RuntimeError

    def __init__(self, *calls: str) -> None:
        super().__init__()
        self.calls = set(calls)

    def _raise(self, call: str) -> None:
        if call in self.calls:
            raise self.kind(call)

    def start(self, servers: Sequence[Server]) -> None:
        """Take over, or half of it."""
        super().start(servers[:1])
        self._raise("start")

    def add(self, server: Server) -> None:
        """Take in a server, and raise."""
        super().add(server)
        self._raise("add")

    def remove(self, server: Server) -> None:
        """Raise before the server is let go."""
        self._raise("remove")
        super().remove(server)

    def edit(self, server: Server) -> None:  # noqa: ARG002 - the base has it
        """Raise."""
        self._raise("edit")

    def pick(self, flow: Flow, now: float) -> Server | None:
        """Raise, or pick."""
        self._raise("pick")
        return super().pick(flow, now)


class Lying(FirstAdded):
    """Picks what a test says."""

    lie: Any = None

    def pick(self, flow: Flow, now: float) -> Any:  # noqa: ARG002 - it does not look
        """Return the lie."""
        return self.lie


def _nothing_is_left(world: World, *servers: RealServer) -> bool:
    table, services = world.balancer.flows.table, world.balancer.services
    users = [path.users for each in servers for path in each.paths.values()]
    counts = [(each.total, each.active, each.templates) for each in servers]
    return (len(table), list(services.removed()), sum(users), set(counts)) == (
        0,
        [],
        0,
        {(0, 0, 0)},
    )


def test_a_connection_that_is_replaced_ends_though_the_scheduler_raises() -> None:
    world = World(settings=Settings(expire_nodest_conn=True))
    scheduler = Raising()
    service = world.serve(scheduler=scheduler)
    request = world.establish()
    gone = world.remove_server(service)
    world.add_server(service, 2)
    scheduler.calls.add("pick")
    for _ in range(5):
        assert world.handle(replace(request, what="S")) is Verdict.DROP
    assert _nothing_is_left(world, gone, *service.servers)
    assert world.drops() == {"plugin_fault": 5}
    assert str(service.fault) == "pick"


@pytest.mark.parametrize("persistence_s", [0, 60])
def test_a_packet_whose_pick_raises_is_dropped_counted_and_kept_for_the_log(
    persistence_s: int,
) -> None:
    world = World()
    service = world.serve(scheduler=Raising("pick"), persistence_s=persistence_s)
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"plugin_fault": 1}
    assert world.balancer.outbox.answers == []
    assert str(service.fault) == "pick"
    assert _nothing_is_left(world, *service.servers)


class NoOrdinaryError(BaseException):
    """What ``except Exception`` lets through."""


@pytest.mark.parametrize(
    "kind", [NoOrdinaryError, GeneratorExit, SystemExit, KeyboardInterrupt, MemoryError]
)
def test_no_kind_of_error_that_a_pick_raises_gets_any_further(kind: type[BaseException]) -> None:
    world = World()
    scheduler = Raising("pick")
    scheduler.kind = kind
    service = world.serve(scheduler=scheduler)
    other = world.serve(vport=81)
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"plugin_fault": 1}
    assert isinstance(service.fault, kind)
    assert _nothing_is_left(world, *service.servers)
    assert isinstance(world.handle(world.from_client(vport=81)), bytes)
    assert other.servers[0].total == 1


def test_ftp_never_passes_a_packet_whose_pick_raises() -> None:
    world = World()
    world.serve(vport=21, persistence_s=60, scheduler=Raising("pick"))
    assert world.handle(world.from_client(vport=2000)) is Verdict.DROP
    assert world.drops() == {"plugin_fault": 1}


@pytest.mark.parametrize("persistence_s", [0, 60])
@pytest.mark.parametrize("lie", ["removed", "another service's", "never added", "no server"])
def test_a_pick_that_is_none_of_the_services_servers_is_refused_and_counted(
    lie: str, persistence_s: int
) -> None:
    world = World()
    scheduler = Lying()
    service = world.serve(scheduler=scheduler, persistence_s=persistence_s)
    other = world.serve(vip=2)
    address = pack(world.rip(2))
    scheduler.lie = {
        "removed": world.remove_server(service),
        "another service's": other.servers[0],
        "never added": RealServer(ServerConfig(address, 8080, Nat()), service),
        "no server": b"10.0.0.2",
    }[lie]
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"plugin_fault": 1}
    assert isinstance(service.fault, PluginError)
    assert "which is none of the service's real servers" in str(service.fault)
    assert _nothing_is_left(world, *other.servers)


def test_a_server_that_the_scheduler_fails_to_take_in_is_not_there() -> None:
    world = World()
    service = world.serve(scheduler=Raising("add"), servers=0)
    with pytest.raises(PluginError, match=r"failed to take in 10\.0\.0\.1:8080: RuntimeError: add"):
        world.add_server(service)
    assert service.servers == []
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_server": 1}  # the scheduler has forgotten it again


def test_a_removed_server_stays_away_when_the_scheduler_fails_to_take_it_in_again() -> None:
    world = World()
    scheduler = Raising()
    service = world.serve(scheduler=scheduler)
    world.establish()
    gone = world.remove_server(service)
    scheduler.calls.add("add")
    with pytest.raises(PluginError):
        world.add_server(service, weight=7)
    assert (service.servers, list(service.removed.values())) == ([], [gone])
    assert (gone.available, gone.weight, gone.total) == (False, 1, 1)
    world.wait(1000)
    assert _nothing_is_left(world, gone)


@pytest.mark.parametrize("whole_service", [False, True])
def test_a_server_is_gone_though_the_scheduler_fails_to_let_go_of_it(
    *, whole_service: bool
) -> None:
    world = World()
    service = world.serve(scheduler=Raising("remove"), servers=2)
    world.establish()
    servers = list(service.servers)
    if whole_service:
        world.remove(service)
        assert (service.servers, len(world.balancer.services)) == ([], 0)
    else:
        world.remove_server(service, 1)
        assert world.handle(world.from_client(cport=40001)) is Verdict.DROP
        assert world.drops() == {"plugin_fault": 1}
        assert service.fault is not None
    assert not servers[1].available
    world.wait(1000)
    assert _nothing_is_left(world, *servers)


def test_a_change_that_the_scheduler_fails_at_is_not_made() -> None:
    world = World()
    service = world.serve(scheduler=Raising("edit"))
    (server,) = service.servers
    before = server.settled
    with pytest.raises(PluginError):
        world.edit_server(server, weight=0, upper=9, forwarder=Tun("gre"))
    assert server.settled == before


def test_a_scheduler_that_fails_to_take_over_leaves_the_present_one() -> None:
    world = World()
    service = world.serve(servers=2)
    present, before = service.scheduler, service.config
    world.given["first"] = Raising("start")
    with pytest.raises(PluginError, match="'first' failed to take over"):
        world.edit(service, scheduler="first", name="other", persistence_s=60)
    assert (service.scheduler, service.config) == (present, before)


class Planless(Fullnat):
    """Cannot say what becomes of a connection."""

    def plan(self, ends: Ends) -> Plan:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("plan")


class PlanlessNat(Nat):
    """The same for NAT."""

    def plan(self, ends: Ends) -> Plan:  # noqa: ARG002 - the base has it
        """Raise."""
        raise RuntimeError("plan")


@pytest.mark.parametrize("forwarder", [Planless(), PlanlessNat()], ids=["fullnat", "nat"])
def test_a_forwarder_that_raises_holds_no_port_path_or_count(forwarder: Forwarder) -> None:
    world = World()
    pool = LocalPool((pack("10.0.0.200"),), 5000, 5000)
    service = world.serve(forwarder=forwarder, local=pool)
    for cport in (1000, 1001):
        assert world.handle(world.from_client(cport=cport)) is Verdict.DROP
    assert world.drops() == {"plugin_fault": 2}
    assert str(service.fault) == "plan"
    assert world.balancer.flows.local_ports.free == {}
    assert _nothing_is_left(world, *service.servers)


def test_a_path_stays_as_it_was_where_its_forwarder_raises_at_a_new_way() -> None:
    world = World()
    fails: list[bool] = []

    class Sometimes(Tun):
        def plan(self, ends: Ends) -> Plan:
            if fails:
                raise RuntimeError("plan")
            return Tun.plan(self, ends)

    service = world.serve(forwarder=Sometimes())
    world.leave(world.from_client())
    fails.append(True)
    service.servers[0].set_way(Way(1400, pack("10.0.0.253")))
    assert str(service.fault) == "plan"
    sent = IP(world.leave(world.from_client("A")))
    assert (sent.src, sent.dst) == (world.source, world.rip())
