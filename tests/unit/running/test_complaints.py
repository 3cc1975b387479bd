"""Faults are told of once a minute at most, and once when they are over."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from structlog.testing import capture_logs

from lvsd.errors import KernelError
from lvsd.running import complaints
from lvsd.running.complaints import NAMED, REPEAT_S, Complaints

BROKEN = KernelError("read it", "no", "try")


class World:
    """Complaints, the time that they read, and a log."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.complaints = Complaints(lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_a_fault_of_every_second_is_said_once_a_minute_with_how_often_it_was(world: World) -> None:
    with capture_logs() as logs:
        for _ in range(int(2 * REPEAT_S) + 1):
            world.complaints.fault("it fails", BROKEN)
            world.now += 1
    assert [(line["event"], line.get("times")) for line in logs] == [
        ("it fails", None),
        ("it fails", 60),
        ("it fails", 60),
    ]


def test_the_end_of_a_fault_is_said_once(world: World) -> None:
    with capture_logs() as logs:
        world.complaints.over("it fails")
        world.complaints.fault("it fails", BROKEN)
        world.complaints.over("it fails")
        world.complaints.over("it fails")
    assert [line["event"] for line in logs] == ["it fails", "a fault is over"]


def test_a_fault_that_comes_and_goes_is_bounded_too(world: World) -> None:
    with capture_logs() as logs:
        for _ in range(int(REPEAT_S)):
            world.complaints.fault("it fails", BROKEN)
            world.complaints.over("it fails")
            world.now += 1
    assert len(logs) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BROKEN, "read it: no; try"),
        (OSError(24, "Too many open files"), "[Errno 24] Too many open files"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_is_to_blame_for_has_no_traceback(
    world: World, error: Exception, said: str
) -> None:
    with capture_logs() as logs:
        world.complaints.fault("it fails", error)
    assert logs == [{"event": "it fails", "error": said, "log_level": "error"}]


def test_a_mistake_of_ours_has_its_traceback(world: World) -> None:
    mistake = ValueError("oops")
    with capture_logs() as logs:
        world.complaints.fault("it fails", mistake)
    assert logs[0]["exc_info"] is mistake


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_loop_without_descriptors_says_what_to_do(world: World, number: int) -> None:
    error = OSError(number, os.strerror(number))
    with capture_logs() as logs:
        world.complaints.of_loop(None, {"exception": error})  # type: ignore[arg-type]  # any loop
    (line,) = logs
    assert line["event"].startswith("too many files are open: raise the limit")
    assert "exc_info" not in line


def test_a_log_that_fails_is_no_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def error(self, *_: object, **__: object) -> None:
            raise MemoryError

    monkeypatch.setattr(complaints, "log", Full())
    world.complaints.fault("it fails", BROKEN)


def obstacle(name: str) -> tuple[str, str, str]:
    return "no route", name, "see `ip route`"


def said(world: World, *found: tuple[str, str, str]) -> list[Any]:
    with capture_logs() as logs:
        world.complaints.obstacles(found)
    return [line["address"] for line in logs]


def test_an_obstacle_is_said_while_it_is_new(world: World) -> None:
    assert said(world, obstacle("a")) == ["a"]
    world.now += 2 * REPEAT_S
    assert said(world, obstacle("a"), obstacle("b")) == ["b"]
    assert said(world) == []
    assert said(world, obstacle("a")) == ["a"]


def test_an_obstacle_that_is_back_within_a_minute_is_said_when_the_minute_is_over(
    world: World,
) -> None:
    assert said(world, obstacle("a")) == ["a"]
    assert said(world) == []
    world.now += 1
    assert said(world, obstacle("a")) == []
    world.now += REPEAT_S
    assert said(world, obstacle("a")) == ["a"]


def test_many_obstacles_of_one_kind_are_one_line_with_their_number_and_the_first(
    world: World,
) -> None:
    names = [f"10.0.{number >> 8}.{number & 255}" for number in range(2000)]
    with capture_logs() as logs:
        world.complaints.obstacles([*map(obstacle, names), ("another", "b", "")])
    assert [(line["event"], line.get("times")) for line in logs] == [
        ("another", None),
        ("no route", 2000),
    ]
    first = ", ".join(sorted(names)[:NAMED])
    assert (logs[1]["address"], logs[1]["remedy"]) == (f"{first}, ...", "see `ip route`")
    assert said(world, *map(obstacle, names)) == []
