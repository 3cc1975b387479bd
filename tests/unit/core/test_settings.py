"""The director as a whole may behave in another way from one packet to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forwarders import Fullnat
from lvsd.core.commands import KeepPorts, SetSettings, SettingsChange
from lvsd.core.local_pool import LocalPool
from lvsd.core.settings import Settings
from lvsd.packet.address import pack
from lvsd.packet.view import split_key
from tests.unit.core.world import World

pytestmark = pytest.mark.parametrize("version", [4, 6])


def test_every_part_of_the_director_has_the_new_settings(version: int) -> None:
    world = World(version)
    world.serve()
    middle = replace(world.from_client(), what="A")
    before = replace(world.balancer.settings)
    world.handle(middle)
    assert world.states() == []
    after = Settings(sloppy_tcp=True, max_connections=1000)
    changes = world.apply(SetSettings(after))
    assert changes.all == (SettingsChange(before, after),)
    assert not changes.concern_the_network
    world.handle(middle)
    assert world.states() != []
    assert world.balancer.flows.admission.room()["max_connections"] == 1000


def test_the_same_settings_again_are_no_change(version: int) -> None:
    world = World(version)
    assert world.apply(SetSettings(Settings())).all == ()


def test_what_asks_for_them_keeps_settings_of_its_own(version: int) -> None:
    world = World(version)
    asked = Settings(sloppy_tcp=True)
    world.apply(SetSettings(asked))
    asked.sloppy_tcp = False
    assert world.balancer.settings.sloppy_tcp


def test_a_smaller_table_is_divided_among_the_services_at_once(version: int) -> None:
    world = World(version)
    services = [world.serve(vip=number) for number in (1, 2)]
    world.apply(SetSettings(Settings(max_connections=100)))
    assert [each.share.reserved for each in services] == [25, 25]


def test_connections_of_servers_removed_before_end_when_that_is_switched_on(version: int) -> None:
    world = World(version)
    service = world.serve()
    world.establish()
    world.remove_server(service)
    world.wait(3)
    assert world.states() != []
    world.apply(SetSettings(Settings(expire_nodest_conn=True)))
    world.wait(3)
    assert world.states() == []


def test_ports_that_the_host_keeps_are_not_given_any_more(version: int) -> None:
    world = World(version)
    local = "10.0.0.200" if version == 4 else "fd00::c8"
    pool = LocalPool((pack(local),), 5000, 5003)
    world.serve(forwarder=Fullnat(), local=pool)
    world.apply(KeepPorts(((5001, 5003),)))
    world.leave(world.from_client())
    (key,) = {
        each.reply_key for each in world.balancer.flows.table.by_key.values() if each.reply_key
    }
    assert split_key(key)[1] == (pack(local), 5000)
