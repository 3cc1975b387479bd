"""Losses for lack of room are said when they begin, once a minute, and when they are over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from lvsd.engine.pressure import FULL, OWN_BOUND, SAY_EVERY_S, Pressure, Spell
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ROOM_AGAIN = "there is room for new connections again"


def test_a_counter_that_stands_still_again_says_only_that_it_is_over() -> None:
    spell = Spell()
    assert spell.look(1, 0.0) == (1, False)
    assert [spell.look(1, float(now)) for now in range(1, 200)].count(None) == 198


def test_a_spell_is_told_at_once_then_every_minute_then_its_end() -> None:
    spell = Spell()
    told = {}
    for second in range(300):
        total = 10 * min(second, 130)
        said = spell.look(total, 1000.0 + second)
        if said is not None:
            told[second] = said
    assert told == {
        1: (10, False),
        61: (600, False),
        121: (600, False),
        181: (90, False),
        190: (1300, True),
    }


def test_a_spell_that_comes_and_goes_is_one_spell() -> None:
    spell = Spell()
    told = []
    for second in range(600):
        said = spell.look(second // 30, float(second))
        told += [said] if said else []
    assert [is_over for _, is_over in told] == [False] * 10
    assert sum(count for count, _ in told) == 19


def _logged(world: World, *, seconds: int, flood: int) -> list[MutableMapping[str, Any]]:
    lost = 0
    pressure = Pressure(world.balancer, lambda: lost)
    cport = 1000
    with capture_logs() as logs:
        for second in range(seconds):
            for _ in range(flood if second < SAY_EVERY_S else 0):
                cport += 1
                world.handle(world.from_client(protocol="udp", vport=53, cport=cport))
            world.now += 1
            lost = 5 * min(second, 10)
            pressure.tick(world.now)
    return logs


def test_a_full_table_is_said_with_numbers_and_the_service_that_floods_it() -> None:
    world = World()
    world.settings.max_connections = 10
    world.serve("udp", vport=53, name="dns")
    world.serve(name="web")
    logs = _logged(world, seconds=180, flood=10)
    table = [
        each for each in logs if "queue" not in each["event"] and "packets" not in each["event"]
    ]
    first, *again, last = table
    assert (first["event"], first["log_level"]) == (FULL, "warning")
    assert (first["entries"], first["reserved"], first["max_connections"]) == (8, 2, 10)
    assert first["services"] == f"dns ({first['evicted']} evicted, {first['refused']} refused)"
    assert [each["event"] for each in again] == [FULL] * len(again)
    assert len(again) <= 2
    assert (last["event"], last["log_level"]) == (ROOM_AGAIN, "info")
    assert (
        last["lost"]
        == world.balancer.flows.admission.evicted + world.balancer.flows.admission.refused
    )


def test_a_service_at_its_own_bound_is_not_taken_for_a_full_table() -> None:
    world = World()
    service = world.serve("udp", vport=53, name="dns")
    world.edit(service, max_connections=3)
    first, *_, last = (
        each for each in _logged(world, seconds=180, flood=10) if "packets" not in each["event"]
    )
    assert (first["event"], first["entries"]) == (OWN_BOUND, 3)
    assert "[daemon]" not in first["remedy"]
    assert last["event"] == ROOM_AGAIN


def test_that_room_is_short_is_a_counter_while_it_lasts() -> None:
    world = World()
    world.settings.max_connections = 4
    world.serve("udp", vport=53, name="dns")
    pressure = Pressure(world.balancer, lambda: 0)
    assert pressure.counters()["short_of_room"] == 0
    for cport in range(1000, 1010):
        world.handle(world.from_client(protocol="udp", vport=53, cport=cport))
    pressure.tick(world.now)
    assert pressure.counters()["short_of_room"] == 1
    pressure.tick(world.now + SAY_EVERY_S)
    assert pressure.counters()["short_of_room"] == 0


def test_what_the_queue_lost_is_said_and_that_it_is_over() -> None:
    logs = _logged(World(), seconds=180, flood=0)
    assert [(each["log_level"], each["lost"]) for each in logs] == [
        ("warning", 5),
        ("warning", 45),
        ("info", 50),
    ]
