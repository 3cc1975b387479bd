"""Replies are diverted as long as there is a connection that they may belong to."""

from __future__ import annotations

import pytest

from forwarders import Dr, Fullnat, Nat
from lvsd.assembly import diverted
from lvsd.core.local_ports import LocalPool
from lvsd.packet.address import pack
from tests.unit.core.world import World

LIP = {4: "10.0.0.200", 6: "fd00::c8"}

pytestmark = pytest.mark.parametrize("version", [4, 6])


def test_a_removed_servers_replies_are_taken_until_its_last_connection_ends(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    world.remove_server(service)
    endpoint = pack(world.rip()), 6, 8080
    assert diverted(world.director.services).servers == {endpoint}
    world.wait(901)
    assert not diverted(world.director.services).servers


def test_replies_of_the_former_way_are_taken_beside_those_of_the_new_one(version: int) -> None:
    world = World(version)
    pool = LocalPool((pack(LIP[version]),))
    service = world.serve(forwarder=Fullnat(), local=pool)
    world.leave(world.from_client())
    server = service.servers[0]
    endpoint = pack(world.rip()), 6, 8080
    server.set_forwarder(Nat())
    state = diverted(world.director.services)
    assert state.servers == state.fullnat_servers == {endpoint}
    server.set_forwarder(Dr())
    state = diverted(world.director.services)
    assert not state.servers
    assert state.fullnat_servers == {endpoint}
