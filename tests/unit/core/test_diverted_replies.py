"""Replies are diverted as long as there is a connection that they may belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forwarders import Dr, Fullnat, Nat
from lvsd.core.local_pool import LocalPool
from lvsd.io.diverting import diverted
from lvsd.io.ruleset import Diverted
from lvsd.packet.address import pack
from tests.unit.core.world import World

if TYPE_CHECKING:
    from forwarders.base import Forwarder

LIP = {4: "10.0.0.200", 6: "fd00::c8"}

pytestmark = pytest.mark.parametrize("version", [4, 6])


def test_a_removed_servers_replies_are_taken_until_its_last_connection_ends(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    world.remove_server(service)
    endpoint = pack(world.rip()), 6, 8080
    assert diverted(world.balancer.services).servers == {endpoint}
    world.wait(901)
    assert not diverted(world.balancer.services).servers


@pytest.mark.parametrize("again", [False, True])
def test_a_removed_services_packets_are_taken_until_its_last_connection_ends(
    version: int, *, again: bool
) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    world.remove(service)
    if again:  # and removed again, now without servers of its own
        world.serve(servers=0)
        world.remove(service)
    state = diverted(world.balancer.services)
    assert state.endpoints == {(pack(world.vip()), 6, 80)}
    assert state.servers == {(pack(world.rip()), 6, 8080)}
    assert state.not_forwarded == {pack(world.vip())}
    world.wait(901)
    assert diverted(world.balancer.services) == Diverted()


def test_a_removed_mark_is_taken_until_its_last_connection_ends(version: int) -> None:
    world = World(version)
    service = world.serve(fwmark=7)
    world.handle(world.from_client(), mark=7)
    world.remove(service)
    assert diverted(world.balancer.services).marks == {7}
    world.wait(901)
    assert diverted(world.balancer.services) == Diverted()


def test_a_removed_services_local_addresses_are_taken_though_another_is_in_its_place(
    version: int,
) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    service = world.serve(forwarder=Fullnat(), local=pool)
    world.leave(world.from_client())
    world.remove(service)
    world.serve(servers=0)
    state = diverted(world.balancer.services)
    assert state.local_addresses == {pack(LIP[version])}
    assert state.fullnat_servers == {(pack(world.rip()), 6, 8080)}


@pytest.mark.parametrize("forwarder", [Nat(), Fullnat()])
def test_replies_of_passive_ftps_data_connections_are_taken(
    version: int, forwarder: Forwarder
) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    service = world.serve(vport=21, rport=21, persistence_s=300, forwarder=forwarder, local=pool)
    state = diverted(world.balancer.services)
    from_any_port = {(pack(world.rip()), 6, 0)}
    assert state.servers | state.fullnat_servers == from_any_port
    world.edit(service, persistence_s=0)
    state = diverted(world.balancer.services)
    assert state.servers | state.fullnat_servers == from_any_port
    assert (pack(world.vip()), 6, 0) in state.endpoints


def test_replies_of_a_persistent_mark_are_taken_from_any_port(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, persistence_s=300)
    state = diverted(world.balancer.services)
    assert state.servers == {(pack(world.rip()), number, 0) for number in (6, 17, 132)}


def test_replies_of_the_former_way_are_taken_beside_those_of_the_new_one(version: int) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    service = world.serve(forwarder=Fullnat(), local=pool)
    world.leave(world.from_client())
    server = service.servers[0]
    endpoint = pack(world.rip()), 6, 8080
    world.edit_server(server, forwarder=Nat())
    state = diverted(world.balancer.services)
    assert state.servers == state.fullnat_servers == {endpoint}
    world.edit_server(server, forwarder=Dr())
    state = diverted(world.balancer.services)
    assert not state.servers
    assert state.fullnat_servers == {endpoint}
