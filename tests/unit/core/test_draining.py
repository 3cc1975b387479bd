"""Draining: clients leave a real server, and nobody is cut off before the deadline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.commands import Drain, DrainChange, Undrain
from lvsd.core.drains import LOOKED_AT_ONCE, Emptied
from lvsd.core.local_pool import LocalPool
from lvsd.core.service import server_name
from lvsd.core.verdict import Reason, Verdict
from lvsd.packet.address import pack
from lvsd.packet.numbers import TcpFlag
from lvsd.packet.view import Packet
from schedulers.base import Flow
from tests.unit.core.world import FirstAdded, World, counts, raw

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.service import RealServer, Service

pytestmark = pytest.mark.parametrize("version", [4, 6])


def drain(world: World, server: RealServer, deadline_s: int | None = None) -> None:
    """Drain a server by a command."""
    world.apply(Drain(server.service.key, *server.config.place, deadline_s))


def undrain(world: World, server: RealServer) -> None:
    """Take a server back by a command."""
    world.apply(Undrain(server.service.key, *server.config.place))


def oldest(service: Service) -> RealServer:
    """Return the server that `FirstAdded` prefers."""
    return service.servers[-1]


def emptied(world: World) -> list[Emptied]:
    """Return which servers were found empty, and take it as told."""
    return world.balancer.transitions.drains.told()


def translated(world: World) -> Service:
    """Serve by FULLNAT."""
    own = pack(world.source)
    world.balancer.network.local_addresses = frozenset({own})
    return world.serve(servers=1, forwarder=Fullnat(), local=LocalPool((own,)))


def test_a_drained_server_gets_no_new_connection_and_keeps_those_that_it_has(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, scheduler=FirstAdded())
    ack = world.establish()
    drain(world, oldest(service))
    assert world.chosen(world.from_client(client=2)) == world.rip(2)
    assert world.handle(ack) == raw(world.to_server(ack))
    world.wait(800)
    assert world.handle(ack) == raw(world.to_server(ack))
    assert counts(oldest(service)) == (1, 0)


def test_a_drained_servers_configured_weight_stays_and_comes_back(version: int) -> None:
    world = World(version)
    service = world.serve()
    (server,) = service.servers
    world.edit_server(server, weight=7)
    drain(world, server)
    assert (server.weight, server.config.weight) == (0, 7)
    undrain(world, server)
    assert server.weight == 7
    assert world.chosen(world.from_client()) == world.rip()


def test_a_persistent_clients_next_connection_leaves_a_drained_server(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    ack = world.establish(cport=1)
    assert world.chosen(world.from_client(cport=2)) == world.rip(1)
    drain(world, oldest(service))
    assert world.chosen(world.from_client(cport=3)) == world.rip(2)
    assert world.handle(ack) == raw(world.to_server(ack))


def test_a_client_that_left_a_drained_server_stays_where_it_is_when_that_comes_back(
    version: int,
) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300, scheduler=FirstAdded())
    world.establish(cport=1)
    drain(world, oldest(service))
    world.establish(cport=2)
    undrain(world, oldest(service))
    assert world.chosen(world.from_client(cport=3)) == world.rip(2)
    assert world.chosen(world.from_client(client=9)) == world.rip(1)


@pytest.mark.parametrize("persistence_s", [0, 300])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("last", ["FA", "R"])
def test_a_port_that_is_used_again_does_not_reach_a_drained_server(
    version: int, persistence_s: int, mode: int, last: str
) -> None:
    world = World(version)
    world.settings.conn_reuse_mode = mode
    service = world.serve(servers=2, persistence_s=persistence_s, scheduler=FirstAdded())
    ack = world.establish()
    world.handle(replace(ack, what=last))
    drain(world, oldest(service))
    assert world.chosen(replace(ack, what="S")) == world.rip(2)


def test_a_syn_that_is_sent_again_stays_with_the_server_that_is_answering_it(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, scheduler=FirstAdded())
    syn = world.from_client()
    world.handle(syn)
    drain(world, oldest(service))
    assert world.chosen(syn) == world.rip(1)


def test_an_edit_of_a_drained_server_keeps_the_drain(version: int) -> None:
    world = World(version)
    (server,) = world.serve().servers
    drain(world, server, 60)
    world.edit_server(server, weight=9)
    assert (server.weight, server.drain is not None) == (0, True)
    undrain(world, server)
    assert server.weight == 9


def test_a_drained_server_that_is_removed_and_added_again_is_drained_no_longer(
    version: int,
) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    drain(world, oldest(service), 5)
    server = world.remove_server(service)
    assert world.add_server(service) is server
    assert (server.drain, server.weight) == (None, 1)
    world.wait(10)
    assert world.handle(ack) == raw(world.to_server(ack))
    assert emptied(world) == []


def test_the_change_says_who_is_drained_and_until_when(version: int) -> None:
    world = World(version)
    (server,) = world.serve().servers
    place = server.service.key, *server.config.place
    assert world.apply(Drain(*place, 60)).all == (DrainChange(*place, True, 60),)
    assert world.apply(Drain(*place)).all == (DrainChange(*place, True, None),)
    assert world.apply(Undrain(*place)).all == (DrainChange(*place, False, None),)
    assert world.apply(Undrain(*place)).all == ()
    assert not world.apply(Drain(*place)).concern_the_network


@pytest.mark.parametrize("forwarder", [Nat(), Dr(), Tun()])
def test_at_the_deadline_the_connections_that_are_left_end(
    version: int, forwarder: Forwarder
) -> None:
    world = World(version)
    service = world.serve(servers=2, forwarder=forwarder, scheduler=FirstAdded())
    for client in range(1, 4):
        world.handle(world.from_client(client=client))
        world.handle(world.from_client("A", client=client))
    server = oldest(service)
    drain(world, server, 60)
    world.wait(59)
    assert (counts(server), world.states()) == ((3, 0), ["ESTABLISHED"] * 3)
    world.wait(2)
    assert (counts(server), world.states()) == ((0, 0), [])
    assert emptied(world) == [Emptied(service.key, *server.config.place, 3)]


@pytest.mark.parametrize(
    ("forwarder", "state", "cut"), [(Nat(), "CLOSE_WAIT", 1), (Dr(), "FIN_WAIT", 0)]
)
def test_connections_that_were_over_by_themselves_are_not_cut_at_the_deadline(
    version: int, forwarder: Forwarder, state: str, cut: int
) -> None:
    world = World(version)
    service = world.serve(servers=1, forwarder=forwarder)
    for client, last in ((1, "R"), (2, "FA")):
        world.handle(world.from_client(client=client))
        world.handle(world.from_client("A", client=client))
        world.handle(world.from_client(last, client=client))
    assert world.states() == ["CLOSE", state]
    (server,) = service.servers
    drain(world, server, 5)
    world.wait(6)
    # Of NAT's the server may have something to send as yet; of DR's nobody here would know.
    assert emptied(world) == [Emptied(service.key, *server.config.place, cut)]


def test_at_the_deadline_both_ends_of_a_fullnat_connection_get_a_reset(version: int) -> None:
    world = World(version)
    service = translated(world)
    ack = world.shake_hands(world.from_client())
    drain(world, oldest(service), 5)
    world.sent()
    world.wait(6)
    resets = []
    for departure in world.sent():
        packet = Packet()
        packet.load(departure.data)
        resets.append((packet.destination, bool(packet.flags & TcpFlag.RST)))
    assert sorted(resets) == sorted([(pack(ack.source), True), (pack(world.rip()), True)])
    assert world.states() == []


def test_after_the_deadline_a_datagram_finds_another_server(version: int) -> None:
    world = World(version)
    service = world.serve("udp", servers=2, scheduler=FirstAdded())
    request = world.from_client(protocol="udp")
    assert world.chosen(request) == world.rip(1)
    drain(world, oldest(service), 5)
    assert world.chosen(request) == world.rip(1)
    world.wait(6)
    assert world.chosen(request) == world.rip(2)


def test_connections_of_other_servers_are_not_touched_at_the_deadline(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=300, scheduler="rr")
    acks = [world.establish(client=client) for client in (1, 2)]
    drain(world, service.find(pack(world.rip(1)), 8080), 5)
    world.wait(6)
    assert world.handle(acks[0]) == raw(world.to_server(acks[0], 2))
    assert world.handle(acks[1]) is Verdict.PASS
    assert counts(service.servers[0]) == (1, 0)


def test_templates_of_a_drained_server_end_with_its_last_connections(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2, persistence_s=3000, scheduler=FirstAdded())
    world.establish(cport=1)
    world.establish(cport=2)
    drain(world, oldest(service), 5)
    world.wait(6)
    assert (len(world.balancer.flows.table), oldest(service).templates) == (0, 0)


def test_a_tick_ends_so_many_at_the_most_and_says_that_there_are_more(version: int) -> None:
    world = World(version)
    service = world.serve("udp")
    for cport in range(1, 3 * LOOKED_AT_ONCE):
        world.handle(world.from_client(protocol="udp", cport=cport))
    drain(world, oldest(service), 0)
    world.now += 1
    before = oldest(service).total
    assert world.balancer.tick(world.now)
    assert before - oldest(service).total == LOOKED_AT_ONCE
    world.tick()
    assert oldest(service).total == 0


def test_that_a_server_is_empty_is_told_once(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    drain(world, oldest(service))
    world.wait(3)
    assert emptied(world) == []
    world.handle(replace(ack, what="R"))
    world.wait(12)
    assert emptied(world) == [Emptied(service.key, *oldest(service).config.place, 0)]
    world.wait(5)
    assert emptied(world) == []


def test_a_server_without_connections_is_empty_with_the_next_tick(version: int) -> None:
    world = World(version)
    service = world.serve(persistence_s=300)
    drain(world, oldest(service), 600)
    world.wait(1)
    assert emptied(world) == [Emptied(service.key, *oldest(service).config.place, 0)]


def test_another_deadline_takes_the_place_of_the_one_before(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    drain(world, oldest(service), 5)
    world.wait(4)
    drain(world, oldest(service), 60)
    world.wait(50)
    assert counts(oldest(service)) == (1, 0)
    drain(world, oldest(service))
    world.wait(60)
    assert counts(oldest(service)) == (1, 0)


def test_an_engine_that_is_told_of_a_drain_later_keeps_its_deadline(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    place = service.key, *oldest(service).config.place
    world.apply(Drain(*place, 60, since=world.now - 50))
    world.wait(9)
    assert counts(oldest(service)) == (1, 0)
    world.wait(2)
    assert counts(oldest(service)) == (0, 0)


def test_a_server_that_was_taken_back_has_no_deadline(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = world.establish()
    drain(world, oldest(service), 5)
    world.wait(3)
    undrain(world, oldest(service))
    world.wait(10)
    assert world.handle(ack) == raw(world.to_server(ack))
    assert emptied(world) == []


def test_nothing_ends_amid_a_change_that_may_be_taken_back(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    drain(world, oldest(service), 5)
    steps = world.balancer.changing()
    for _ in steps.doing(Undrain(service.key, *oldest(service).config.place)):
        pass
    world.wait(10)
    assert counts(oldest(service)) == (1, 0)
    with pytest.raises(Exception, match="No such destination"):
        list(steps.doing(Drain(service.key, b"1234", 1)))
    world.wait(2)
    assert counts(oldest(service)) == (0, 0)


def picked(service: Service, flows: list[Flow]) -> list[str]:
    """Return whom each flow would get, and see that `weigh` says the same."""
    found = []
    for flow in flows:
        weighed = service.scheduler.weigh(flow, 0.0)
        server = service.pick(flow, 0.0)
        numbers = {each.server: each.number for each in weighed if each.number is not None}
        if isinstance(server, Reason):
            assert numbers == {}
            found.append(server.value)
        else:
            assert min(numbers, key=lambda each: numbers[each] or 0) is server
            found.append(server_name(server))
    return found


@pytest.mark.parametrize("name", ["sh", "mh", "dh"])
def test_where_clients_have_their_server_by_a_hash_those_of_a_drained_one_get_another(
    version: int, name: str
) -> None:
    world = World(version)
    service = world.serve(servers=4, scheduler=name)
    flows = [Flow(pack(world.client(n)), n, pack(world.vip(n)), 80) for n in range(1, 120)]
    before = picked(service, flows)
    leaving = server_name(oldest(service))
    drain(world, oldest(service))
    now = picked(service, flows)
    assert [new for old, new in zip(before, now, strict=True) if old != leaving] == [
        each for each in before if each != leaving
    ]
    others = {new for old, new in zip(before, now, strict=True) if old == leaving}
    assert others == set(before) - {leaving}
    for other in service.servers[:-1]:
        drain(world, other)
    assert picked(service, flows) == ["no_server"] * len(flows)
    for server in service.servers:
        undrain(world, server)
    assert picked(service, flows) == before
    world.edit_server(oldest(service), weight=0)
    assert picked(service, flows).count("no_server") == before.count(leaving)


def test_where_every_server_is_drained_new_connections_are_refused(version: int) -> None:
    world = World(version)
    service = world.serve()
    drain(world, oldest(service))
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_server": 1}
