"""A scheduler tells where it stands, and another one of the same servers goes on there."""

from __future__ import annotations

import pytest

from schedulers import BUILT_IN
from schedulers.base import Flow, Scheduler, Server

FLOW = Flow(b"\n\0\0\1", 40000, b"\n\0\0\2", 80)


def of(name: str, *weights: int) -> tuple[Scheduler, list[Server]]:
    scheduler = BUILT_IN[name]()
    servers = [Server(bytes((10, 0, 0, number)), 80, each) for number, each in enumerate(weights)]
    scheduler.start(servers[::-1])
    return scheduler, servers


def picks(scheduler: Scheduler, servers: list[Server], number: int) -> list[int]:
    picked = (scheduler.pick(FLOW, 0.0) for _ in range(number))
    return [-1 if each is None else servers.index(each) for each in picked]


@pytest.mark.parametrize("name", ["rr", "wrr"])
@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (4, 0, 2), (0, 0), (), (6, 4, 0, 2)])
def test_another_one_goes_on_after_any_number_of_picks(name: str, weights: tuple[int, ...]) -> None:
    for before in range(14):
        one, its = of(name, *weights)
        picks(one, its, before)
        other, others = of(name, *weights)
        other.resume(one.position())
        assert picks(other, others, 20) == picks(one, its, 20)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_position_is_three_numbers_at_most(name: str) -> None:
    scheduler, servers = of(name, 3, 2)
    picks(scheduler, servers, 4)
    position = scheduler.position()
    assert len(position) <= 3
    assert all(0 <= each < 1 << 32 for each in position)


@pytest.mark.parametrize(
    ("name", "position"),
    [("rr", (4,)), ("rr", ()), ("wrr", (1, 4)), ("wrr", (9, 1)), ("wrr", (1,))],
)
def test_what_is_no_position_is_refused_and_nothing_changes(
    name: str, position: tuple[int, ...]
) -> None:
    one, its = of(name, 3, 2, 1)
    other, others = of(name, 3, 2, 1)
    with pytest.raises(ValueError, match=r"place|cw|values to unpack"):
        one.resume(position)
    assert picks(one, its, 12) == picks(other, others, 12)
