"""One client port, two virtual services, one real server: the replies of both look alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.verdict import Verdict
from tests.unit.core.world import Segment, World, raw

pytestmark = pytest.mark.parametrize("version", [4, 6])


def _clash(world: World) -> tuple[Segment, Segment, bytes]:
    """Return an older and a newer request, and the reply that both get."""
    world.serve("udp", vip=1)
    world.serve("udp", vip=2)
    older = world.from_client(protocol="udp", vip=1)
    newer = world.from_client(protocol="udp", vip=2)
    world.handle(older)
    world.wait(100)
    world.handle(newer)
    return older, newer, raw(world.to_server(older).reversed)


def test_replies_go_to_the_newer_connection(version: int) -> None:
    world = World(version)
    _, newer, reply = _clash(world)
    assert world.reply(reply) == raw(newer.reversed)


def test_requests_of_both_go_on(version: int) -> None:
    world = World(version)
    older, newer, _ = _clash(world)
    assert world.handle(older) == raw(world.to_server(older))
    assert world.handle(newer) == raw(world.to_server(newer))


def test_replies_go_back_to_the_older_one_when_the_newer_has_ended(version: int) -> None:
    world = World(version)
    older, _, reply = _clash(world)
    world.wait(150)
    world.handle(older)
    world.wait(151)
    assert world.reply(reply) == raw(older.reversed)


def test_replies_stay_with_the_newer_one_when_the_older_has_ended(version: int) -> None:
    world = World(version)
    _, newer, reply = _clash(world)
    world.wait(201)
    assert world.balancer.flows.table.count == 1
    assert world.reply(reply) == raw(newer.reversed)


def test_nothing_is_left_when_both_have_ended(version: int) -> None:
    world = World(version)
    _, _, reply = _clash(world)
    world.wait(301)
    assert world.reply(reply) is Verdict.PASS
    assert world.balancer.flows.table.by_key == {}
    assert world.balancer.flows.table._shadowed == {}


def test_a_server_that_is_its_own_client_over_its_own_address_leaves_nothing_behind(
    version: int,
) -> None:
    world = World(version)
    service = world.serve("udp", rport=80)
    request = replace(
        world.from_client(protocol="udp", cport=80), source=world.rip(), destination=world.vip()
    )
    world.handle(request)
    world.wait(301)
    assert world.balancer.flows.table.by_key == {}
    assert service.servers[0].total == 0
