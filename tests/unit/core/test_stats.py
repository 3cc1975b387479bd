"""Counters, their zero point, and the rates against the estimator's arithmetic spelled out."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

import pytest

from forwarders import Dr, Nat
from lvsd.core.commands import Zero
from lvsd.core.service import Service
from lvsd.core.stats import Estimator, Meter, Rates, Totals
from lvsd.core.upkeep import SAMPLED_AT_ONCE
from lvsd.core.values import ServiceKey
from lvsd.core.verdict import Verdict
from lvsd.errors import ControlError
from tests.unit.core.world import World, raw

if TYPE_CHECKING:
    from forwarders.base import Forwarder


class LiteralEstimator:
    """The kernel's estimator in fractions: rounding is what it says, not what shifts do.

    Every two seconds a rate moves by a quarter of its distance to what the last two seconds
    had. Packets are kept in 1024ths, bytes in 32nds; each move is rounded down. What is shown
    is rounded to the nearest, and a half goes down.
    """

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.last = 0
        self.kept = 0

    def sample(self, value: int) -> None:
        """Take in the counter's value."""
        seen = Fraction(value - self.last, 2) * self.scale
        self.last = value
        self.kept += floor((seen - self.kept) / 4)

    @property
    def shown(self) -> int:
        """The rate per second."""
        return floor((Fraction(self.kept) + self.scale // 2 - 1) / self.scale)


@pytest.mark.parametrize("seed", range(20))
def test_rates_are_those_of_the_literal_estimator(seed: int) -> None:
    random_ = random.Random(seed)
    literal = [LiteralEstimator(scale) for scale in (1024, 1024, 1024, 32, 32)]
    estimator = Estimator()
    totals = Totals()
    for _ in range(100):
        steps = [random_.choice((0, 1, 7, 1000, 10**6, 10**10)) for _ in totals]
        totals = Totals(*(old + step for old, step in zip(totals, steps, strict=True)))
        estimator.sample(totals)
        for each, value in zip(literal, totals, strict=True):
            each.sample(value)
        assert estimator.rates == Rates(*(each.shown for each in literal))


def test_a_steady_rate_is_approached_by_quarters() -> None:
    estimator = Estimator()
    seen = []
    for second in range(2, 60, 2):
        estimator.sample(Totals(in_packets=100 * second))
        seen.append(estimator.rates.in_packets)
    assert seen[:5] == [25, 44, 58, 68, 76]
    assert seen[-1] == 100


def test_a_rate_of_nothing_falls_to_zero() -> None:
    estimator = Estimator()
    estimator.sample(Totals(in_bytes=10**6))
    for _ in range(100):
        estimator.sample(Totals(in_bytes=10**6))
    assert estimator.rates == Rates()


@pytest.mark.parametrize("seed", range(5))
def test_a_meter_that_passes_over_idle_periods_shows_the_same_rates(seed: int) -> None:
    random_ = random.Random(seed)
    meter, estimator = Meter(), Estimator()
    for _ in range(1000):
        if not random_.randrange(100):
            meter.stats.in_packets += random_.choice((1, 1000, 10**6))
            meter.stats.in_bytes += random_.choice((40, 10**9))
        if not random_.randrange(200):
            meter.zero()
            estimator.zero(meter.raw)
        meter.sample(0.0)
        estimator.sample(meter.raw)
        assert meter.rates == estimator.rates


def test_zero_moves_the_zero_point_and_the_raw_counters_go_on() -> None:
    meter = Meter()
    meter.stats.in_packets = 5
    meter.sample(0.0)
    meter.zero()
    meter.stats.in_packets += 2
    assert meter.totals == Totals(in_packets=2)
    assert meter.raw == Totals(in_packets=7)
    assert meter.rates == Rates()


def test_after_a_zero_the_next_rate_counts_from_there() -> None:
    meter = Meter()
    meter.stats.in_packets = 10**6
    meter.zero()
    meter.stats.in_packets += 8
    meter.sample(0.0)
    assert meter.rates.in_packets == 1


@pytest.mark.parametrize("version", [4, 6])
def test_packets_and_bytes_are_counted_for_the_server_and_its_service(version: int) -> None:
    world = World(version)
    service = world.serve(servers=2)
    syn = world.from_client()
    data = replace(syn, what="PA", payload=bytes(100))
    for segment in (syn, data):
        world.handle(segment)
    world.answer(syn, "SA", number=2)
    expected = Totals(1, 2, 1, len(raw(syn)) + len(raw(data)), len(raw(syn)))
    assert service.meter.totals == expected
    assert [server.meter.totals for server in service.servers] == [expected, Totals()]


def test_a_connection_refused_for_a_full_table_is_not_counted() -> None:
    world = World()
    world.settings.max_connections = 0
    service = world.serve()
    world.handle(world.from_client())
    assert service.meter.totals == Totals()


def test_zero_of_one_service_leaves_the_others() -> None:
    world = World()
    one, other = world.serve(vport=80), world.serve(vport=81)
    world.establish(vport=80)
    world.establish(vport=81)
    world.apply(Zero(one.key))
    assert one.meter.totals == one.servers[0].meter.totals == Totals()
    assert other.meter.totals.connections == other.servers[0].meter.totals.connections == 1


def test_zero_of_all_services_takes_the_marked_ones_too() -> None:
    world = World()
    services = [world.serve(), world.serve(fwmark=7)]
    world.establish()
    world.handle(world.from_client(vip=5), mark=7)
    world.apply(Zero())
    assert [service.meter.totals for service in services] == [Totals()] * 2


def test_zero_of_a_service_that_is_not_there_says_so() -> None:
    with pytest.raises(ControlError, match="No such service"):
        World().apply(Zero(ServiceKey(fwmark=1)))


def test_rates_are_sampled_every_two_seconds_of_the_directors_clock() -> None:
    world = World()
    service = world.serve()
    world.establish()
    world.wait(1.9)
    before = service.meter.rates
    world.wait(0.1)
    assert before == Rates()
    assert service.meter.rates.in_bytes == service.servers[0].meter.rates.in_bytes == 10


def test_many_ticks_in_a_second_take_one_sample() -> None:
    world = World()
    service = world.serve()
    world.establish()
    world.now += 2
    for _ in range(10):
        world.tick()
    assert service.meter.rates.in_bytes == 10


def test_many_meters_are_sampled_in_several_ticks_each_once() -> None:
    world = World()
    services = [world.serve("udp", vport=vport) for vport in range(1, SAMPLED_AT_ONCE)]
    for service in services:
        world.handle(world.from_client(protocol="udp", vport=service.key.vport))
    world.now += 2
    ticks = 0
    while world.balancer.tick(world.now):
        ticks += 1
    assert ticks == 1
    assert {service.meter.rates for service in services} == {Rates(in_bytes=4)}
    assert {service.servers[0].meter.rates for service in services} == {Rates(in_bytes=4)}


def test_schedulers_tick_once_however_many_ticks_the_meters_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    for vport in range(1, 2 * SAMPLED_AT_ONCE):
        world.serve("udp", vport=vport)
    ticked: Counter[Service] = Counter()
    monkeypatch.setattr(Service, "tick", lambda service, _: ticked.update([service]))
    for second in (1, 2, 3, 4):
        world.now += 1
        while world.balancer.tick(world.now):
            pass
        assert set(ticked.values()) == {second}


def test_after_an_idle_hour_there_is_one_sample_not_a_thousand() -> None:
    world = World()
    service = world.serve()
    world.establish()
    world.now += 3600
    world.tick()
    world.now += 1
    world.tick()
    assert service.meter.rates.in_bytes == 10


@pytest.mark.parametrize(("forwarder", "errors"), [(Dr(), 1), (Nat(), 0)], ids=["dr", "nat"])
def test_an_icmp_error_of_ours_counts_as_the_vips_where_replies_bypass_us(
    forwarder: Forwarder, errors: int
) -> None:
    world = World()
    service = world.serve(forwarder=forwarder)
    syn = world.from_client("S")
    world.handle(syn)
    assert world.handle(replace(syn, what="A", ttl=1)) is Verdict.DROP
    [answer] = world.balancer.outbox.answers
    totals = service.servers[0].meter.totals
    assert (totals.out_packets, totals.out_bytes) == (errors, errors * (20 + len(answer.message)))
