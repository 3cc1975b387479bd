"""ICMP errors are limited by kind and by target, and a flood of one kind starves no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.core.icmp_limits import (
    AT_ONCE,
    RATE_PER_S,
    TARGET_AT_ONCE,
    TARGETS_KEPT,
    ErrorLimits,
    Kind,
)
from lvsd.core.outbox import Outbox
from lvsd.packet.view import Packet
from tests.unit.core.world import World, raw

VERSIONS = pytest.mark.parametrize("version", [4, 6])
NEARLY = 1e-6
"""Times that are added up are not exact."""


def _target(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_one_target_gets_some_at_once_and_then_one_a_second() -> None:
    limits = ErrorLimits()
    taken = [limits.take(Kind.UNREACHABLE, b"host", 100.0) for _ in range(TARGET_AT_ONCE + 3)]
    assert taken == [True] * TARGET_AT_ONCE + [False] * 3
    later = [limits.take(Kind.UNREACHABLE, b"host", 101.0 + NEARLY) for _ in range(2)]
    assert later == [True, False]
    assert limits.limited[Kind.UNREACHABLE] == 4


def test_everybody_together_gets_a_burst_and_then_the_rate() -> None:
    limits = ErrorLimits()
    at_once = sum(limits.take(Kind.UNREACHABLE, _target(each), 100.0) for each in range(1000))
    assert at_once == AT_ONCE
    sent = 0
    for number in range(5000):
        sent += limits.take(Kind.UNREACHABLE, _target(2000 + number), 100.0 + number / 5000)
    assert 0.95 * RATE_PER_S <= sent <= RATE_PER_S


def test_a_target_that_is_over_its_limit_takes_nothing_from_the_others() -> None:
    limits = ErrorLimits()
    for _ in range(1000):
        limits.take(Kind.UNREACHABLE, b"loud", 100.0)
    assert limits.take(Kind.UNREACHABLE, b"calm", 100.0)


def test_a_target_is_forgotten_at_last_so_that_memory_is_bounded() -> None:
    limits = ErrorLimits()
    for number in range(5 * TARGETS_KEPT):
        limits.take(Kind.UNREACHABLE, _target(number), number / RATE_PER_S)
    limit = limits._limits[Kind.UNREACHABLE]
    assert TARGETS_KEPT // 2 <= len(limit._young) + len(limit._old) <= TARGETS_KEPT


def test_a_clock_that_steps_back_raises_nothing_and_gives_nothing() -> None:
    limits = ErrorLimits()
    for _ in range(TARGET_AT_ONCE):
        limits.take(Kind.UNREACHABLE, b"host", 100.0)
    assert not limits.take(Kind.UNREACHABLE, b"host", 50.0)


def test_an_error_over_the_limit_is_not_even_made() -> None:
    world, outbox, packet = World(), Outbox(), Packet()
    packet.load(raw(world.from_client()))
    made: list[Packet] = []

    def make(about: Packet) -> bytes:
        made.append(about)
        return b"message"

    told = [outbox.answer(packet, Kind.UNREACHABLE, 100.0, make) for _ in range(100)]
    assert told == [7] * TARGET_AT_ONCE + [0] * (100 - TARGET_AT_ONCE)
    assert len(made) == len(outbox.answers) == TARGET_AT_ONCE


def test_who_cannot_be_told_takes_nothing_from_who_can() -> None:
    world, outbox, packet = World(), Outbox(), Packet()
    packet.load(raw(replace(world.from_client(), source="224.0.0.5")))
    for _ in range(1000):
        outbox.answer(packet, Kind.UNREACHABLE, 100.0, lambda _: b"message")
    packet.load(raw(world.from_client()))
    assert outbox.answer(packet, Kind.UNREACHABLE, 100.0, lambda _: b"message")


@VERSIONS
def test_refused_clients_keep_nobody_from_learning_the_mtu_or_that_a_ttl_has_ended(
    version: int,
) -> None:
    world = World(version)
    world.serve(vport=81, servers=0)
    service = world.serve("udp", vport=53)
    service.servers[0].mtu = 1400
    big = replace(world.from_client(protocol="udp", vport=53), payload=bytes(1400))
    told = ended = 0
    for number in range(1000):  # a fifth of a second
        world.now += 0.0002
        flood = world.from_client(vport=81, client=1 + number % 200, cport=5000 + number)
        world.handle(flood)
        world.balancer.outbox.answers.clear()
        if number % 20:
            continue
        world.handle(replace(big, source=world.client(number // 20 + 1), source_port=number + 1000))
        told += len(world.balancer.outbox.answers)
        world.balancer.outbox.answers.clear()
        expired = replace(
            world.from_client(protocol="udp", vport=53, client=number // 20 + 1, cport=30000), ttl=1
        )
        world.handle(expired)
        ended += len(world.balancer.outbox.answers)
        world.balancer.outbox.answers.clear()
    assert (told, ended) == (50, 50)
    assert world.balancer.outbox.limits.counters()["limited_unreachable"] > 700


@VERSIONS
def test_an_mtu_is_told_as_often_as_a_packet_is_too_big(version: int) -> None:
    world = World(version)
    service = world.serve()
    ack = replace(world.establish(), payload=bytes(1400))
    service.servers[0].mtu = 1400
    for _ in range(100):
        world.handle(ack)
    assert len(world.balancer.outbox.answers) == 100


def test_a_host_without_a_limit_for_each_target_has_only_the_one_for_all() -> None:
    limits = ErrorLimits()
    limits.target_every_s[4] = 0.0
    assert [limits.take(Kind.UNREACHABLE, _target(1), 100.0) for _ in range(AT_ONCE + 1)] == [
        *[True] * AT_ONCE,
        False,
    ]
