"""A connection's life in one place: reserved, bound, adopted, moved, ended; and who is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core import states
from lvsd.core.connection import Connection
from lvsd.core.known import Known
from lvsd.core.local_pool import LocalPool
from lvsd.core.observers import Observer
from lvsd.core.verdict import Departure, Reason
from lvsd.packet.address import pack
from lvsd.packet.view import TCP as TCP_NUMBER
from schedulers.base import Flow
from tests.unit.core.world import World

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.service import Service
    from tests.unit.core.world import Segment

LIP = {4: "10.0.0.200", 6: "fd00::c8"}
PORTS = (5000, 5003)
WAYS: list[Forwarder] = [Nat(), Dr(), Tun(), Fullnat("none"), Fullnat("toa"), Fullnat("proxy-v2")]

pytestmark = pytest.mark.parametrize("version", [4, 6])


class Noting(Observer):
    """Notes all that it is told, and may say when a connection was seen last."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.seen = float("-inf")

    def opened(self, connection: Connection) -> None:
        """Note that it is open."""
        self.told.append(("opened", connection.state_name))

    def moved(self, connection: Connection, before: int) -> None:
        """Note both states."""
        was = connection.path.protocol.states[before]
        self.told.append(("moved", f"{was} {connection.state_name}"))

    def ended(self, connection: Connection) -> None:
        """Note that it is over."""
        self.told.append(("ended", connection.state_name))

    def last_seen(self, connection: Connection) -> float:  # noqa: ARG002
        """Say what the test says."""
        return self.seen


class Failing(Observer):
    """Raises whatever it is told."""

    def opened(self, connection: Connection) -> None:
        """Fail."""
        raise LookupError(connection)

    moved = opened  # type: ignore[assignment]
    ended = opened
    last_seen = opened  # type: ignore[assignment]


def _serve(world: World, forwarder: Forwarder, **options: Any) -> Service:
    world.balancer.network.local_addresses = frozenset({pack(LIP[world.version])})
    pool = LocalPool((pack(LIP[world.version]),), *PORTS)
    return world.serve(forwarder=forwarder, local=pool, **options)


def _flow(world: World) -> Flow:
    return Flow(pack(world.client()), 40000, pack(world.vip()), 80)


def _reserve(world: World, service: Service) -> Connection | Reason:
    own = world.balancer.network.local_addresses
    return world.balancer.flows.reserve(service, _flow(world), TCP_NUMBER, own, world.now)


def _is_empty(world: World, service: Service) -> bool:
    (server,) = service.servers
    table = world.balancer.flows.table
    return (
        (server.total, server.active, server.templates, len(table), table.by_key)
        == (0, 0, 0, 0, {})
        and not any(path.users for path in server.paths.values())
        and not world.balancer.flows.local_ports.free
    )


# --- reserve, and end without a client --------------------------------------------------------


@pytest.mark.parametrize("forwarder", WAYS, ids=repr)
def test_a_reservation_counts_for_the_scheduler_and_is_in_no_listing(
    version: int, forwarder: Forwarder
) -> None:
    world = World(version)
    service = _serve(world, forwarder)
    connection = _reserve(world, service)
    assert isinstance(connection, Connection)
    assert service.servers[0].total == 1
    assert service.meter.stats.connections == 0
    assert list(world.balancer.connections()) == []
    world.balancer.flows.end(connection)
    assert _is_empty(world, service)


@pytest.mark.parametrize("forwarder", WAYS, ids=repr)
def test_nobody_is_told_of_a_reservation_that_never_had_a_client(
    version: int, forwarder: Forwarder
) -> None:
    world, noting = World(version), Noting()
    world.balancer.flows.observers.add(noting)
    connection = _reserve(world, _serve(world, forwarder))
    assert isinstance(connection, Connection)
    world.balancer.flows.end(connection)
    assert noting.told == []


def test_reservations_hold_local_ports_until_they_end(version: int) -> None:
    world = World(version)
    service = _serve(world, Fullnat("none"))
    held = [_reserve(world, service) for _ in range(PORTS[1] - PORTS[0] + 1)]
    assert _reserve(world, service) is Reason.NO_LOCAL_PORT
    for each in held:
        assert isinstance(each, Connection)
        world.balancer.flows.end(each)
    assert _is_empty(world, service)


def test_a_persistent_reservation_holds_its_template(version: int) -> None:
    world = World(version)
    service = _serve(world, Nat(), persistence_s=300)
    connection = _reserve(world, service)
    assert isinstance(connection, Connection)
    assert connection.template is not None
    assert connection.template.controlled == 1
    world.balancer.flows.end(connection)
    assert connection.template.controlled == 0


# --- observers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("forwarder", WAYS, ids=repr)
def test_observers_are_told_of_each_step_once(version: int, forwarder: Forwarder) -> None:
    world, noting = World(version), Noting()
    _serve(world, forwarder)
    world.balancer.flows.observers.add(noting)
    syn = world.from_client("S")
    world.handle(syn)
    assert noting.told == [("opened", "SYN_RECV")]
    world.handle(replace(syn, what="A"))
    world.handle(replace(syn, what="R"))
    assert noting.told[1:] == [
        ("moved", "SYN_RECV ESTABLISHED"),
        ("moved", "ESTABLISHED CLOSE"),
    ]
    world.wait(15)
    assert noting.told[3:] == [("ended", "CLOSE")]


def test_a_replaced_connection_is_told_as_ended_and_the_new_one_as_opened(version: int) -> None:
    world, noting = World(version), Noting()
    _serve(world, Nat())
    ack = world.establish()
    world.handle(replace(ack, what="R"))
    world.balancer.flows.observers.add(noting)
    world.handle(replace(ack, what="S"))
    assert sorted(noting.told) == [("ended", "CLOSE"), ("opened", "SYN_RECV")]


def test_a_connection_that_was_seen_elsewhere_lives_on_from_then(version: int) -> None:
    world, noting = World(version), Noting()
    _serve(world, Nat())
    world.establish()
    world.balancer.flows.observers.add(noting)
    (connection,) = world.balancer.flows.table
    expires = connection.expires
    noting.seen = expires - 10
    world.wait(expires - world.now + 2)
    assert world.states() == ["ESTABLISHED"]
    (timeout,) = {connection.path.timeouts[connection.state]}
    assert connection.expires == noting.seen + timeout
    noting.seen = float("-inf")
    world.wait(timeout)
    assert world.states() == []


def test_an_observer_that_raises_costs_nothing_and_is_found(version: int) -> None:
    world, noting = World(version), Noting()
    service = _serve(world, Nat())
    observers = world.balancer.flows.observers
    observers.add(Failing())
    observers.add(noting)
    world.handle(replace(world.establish(), what="R"))
    world.wait(15)
    assert [what for what, _ in noting.told] == ["opened", "moved", "moved", "ended"]
    assert isinstance(observers.fault, LookupError)
    assert _is_empty(world, service)


def test_an_observer_that_was_removed_is_told_no_more(version: int) -> None:
    world, noting = World(version), Noting()
    _serve(world, Nat())
    observers = world.balancer.flows.observers
    observers.add(noting)
    observers.remove(noting)
    world.handle(world.from_client("S"))
    assert (noting.told, observers.present) == ([], ())
    with pytest.raises(ValueError, match="not in list"):
        observers.remove(noting)


# --- adopt ----------------------------------------------------------------------------------------


def _known(world: World, service: Service) -> Known:
    """Return what a world knows of its only connection, as another one's service has it."""
    (connection,) = world.balancer.flows.table
    translation = connection.translation
    return Known(
        connection.key,
        connection.reply_key,
        service.servers[0],
        connection.state,
        connection.expires,
        () if translation is None else translation.memory(),
    )


def _adopted(first: World, forwarder: Forwarder) -> tuple[World, Service, Connection]:
    """Return another world that has taken over the first one's connection."""
    second = World(first.version, now=first.now)
    service = _serve(second, forwarder)
    connection = second.balancer.flows.adopt(_known(first, service), second.now)
    assert isinstance(connection, Connection)
    return second, service, connection


def _sent(world: World, segment: Segment) -> list[bytes | Departure]:
    """Return all that a director makes of a client's packet."""
    outcome = world.handle(segment)
    return [*([outcome] if isinstance(outcome, bytes) else []), *world.sent()]


def _answered(world: World, request: bytes, flags: str, seq: int) -> list[bytes | Departure]:
    """Return all that a director makes of the real server's answer to what it got."""
    kind = IP if world.version == 4 else IPv6
    got = kind(request)
    ack = got[TCP].seq + len(got[TCP].payload) + ("S" in got[TCP].flags)
    tcp = TCP(sport=got[TCP].dport, dport=got[TCP].sport, flags=flags, seq=seq, ack=ack)
    outcome = world.reply(bytes(kind(src=got.dst, dst=got.src) / tcp))
    return [*([outcome] if isinstance(outcome, bytes) else []), *world.sent()]


def _bytes(sent: list[bytes | Departure]) -> list[bytes]:
    return [each if isinstance(each, bytes) else each.data for each in sent]


@pytest.mark.parametrize("forwarder", WAYS, ids=repr)
def test_an_adopted_connection_goes_on_to_the_byte(version: int, forwarder: Forwarder) -> None:
    first = World(version)
    _serve(first, forwarder)
    syn = first.from_client("S")
    (got,) = _bytes(_sent(first, syn))
    if not forwarder.bypasses:
        _answered(first, got, "SA", 8999)
    _sent(first, replace(syn, what="A"))
    second, _, _ = _adopted(first, forwarder)
    assert second.states() == first.states()
    for payload, what in ((b"more", "PA"), (b"", "FA")):
        segment = replace(syn, what=what, payload=payload)
        sent = _bytes(_sent(first, segment))
        assert _bytes(_sent(second, segment)) == sent
        if not forwarder.bypasses:
            answers = [_answered(world, sent[-1], "A", 9000) for world in (first, second)]
            assert answers[0] == answers[1] != []
    assert second.states() == first.states()


@pytest.mark.parametrize("forwarder", WAYS, ids=repr)
def test_an_adopted_connection_is_counted_and_ends_like_any_other(
    version: int, forwarder: Forwarder
) -> None:
    first = World(version)
    _serve(first, forwarder)
    first.handle(first.from_client("S"))
    second, service, connection = _adopted(first, forwarder)
    assert (service.servers[0].total, service.meter.stats.connections) == (1, 0)
    second.balancer.flows.move(connection, states.TCP_ESTABLISHED)
    assert service.servers[0].active == 1
    second.balancer.flows.end(connection)
    assert _is_empty(second, service)


def test_an_adopted_local_port_is_given_to_nobody_else_and_comes_back(version: int) -> None:
    first = World(version)
    _serve(first, Fullnat("none"))
    first.handle(first.from_client("S"))
    second, service, adopted = _adopted(first, Fullnat("none"))
    number = PORTS[1] - PORTS[0]
    for _ in range(2):
        others = [_reserve(second, service) for _ in range(number)]
        ends = {each.ends[1][1] for each in others if isinstance(each, Connection)}
        assert len(ends) == number
        assert adopted.ends[1][1] not in ends
        for each in others:
            assert isinstance(each, Connection)
            second.balancer.flows.end(each)
    second.balancer.flows.end(adopted)
    everything = [_reserve(second, service) for _ in range(number + 1)]
    assert all(isinstance(each, Connection) for each in everything)


def test_a_key_that_a_connection_has_is_not_adopted(version: int) -> None:
    world = World(version)
    service = _serve(world, Nat())
    world.establish()
    known = _known(world, service)
    with pytest.raises(ValueError, match="there is a connection with this key"):
        world.balancer.flows.adopt(known, world.now)
    assert service.servers[0].total == 1


@pytest.mark.parametrize("memory", [(), (1, 2), (b"", 1)], ids=repr)
def test_foreign_memory_is_refused_and_nothing_is_left(
    version: int, memory: tuple[int | bytes, ...]
) -> None:
    first, second = World(version), World(version)
    _serve(first, Fullnat("toa"))
    first.handle(first.from_client("S"))
    service = _serve(second, Fullnat("toa"))
    noting = Noting()
    second.balancer.flows.observers.add(noting)
    known = _known(first, service)._replace(memory=memory)
    with pytest.raises(ValueError, match=r"translation of TCP|zip\(\) argument"):
        second.balancer.flows.adopt(known, second.now)
    assert _is_empty(second, service)
    assert noting.told == []
