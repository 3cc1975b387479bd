"""The table of built-in schedulers, and what all of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import schedulers
from schedulers.base import Flow, Scheduler, Server
from tests.unit.schedulers.farm import Farm

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILT_IN = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"]
EVERY = pytest.mark.parametrize("name", BUILT_IN)


def test_names_begins_with_the_built_in_ones() -> None:
    assert schedulers.names()[: len(BUILT_IN)] == BUILT_IN


@EVERY
def test_a_scheduler_is_loaded_by_the_name_it_bears(name: str) -> None:
    assert schedulers.load(name).name == name


@EVERY
def test_a_file_is_named_as_the_scheduler_in_it(name: str) -> None:
    assert schedulers.load(name).__module__ == f"schedulers.{name}"


def test_an_unknown_name_raises_a_lookup_error() -> None:
    with pytest.raises(LookupError, match=r"no scheduler 'twos'; there are: rr, wrr, lc, wlc"):
        schedulers.load("twos")


@pytest.mark.parametrize(
    ("name", "flags"),
    [("sh", {"sh-port", "sh-fallback"}), ("mh", {"mh-port", "mh-fallback"}), ("wlc", set())],
)
def test_a_scheduler_knows_its_own_flags_only(name: str, flags: set[str]) -> None:
    scheduler = schedulers.load(name)
    assert scheduler.known_flags == flags
    with pytest.raises(ValueError, match=f"scheduler {name} has no flag xx-port"):
        scheduler(frozenset({"xx-port"}))


@EVERY
def test_news_of_a_removed_server_is_passed_over(name: str) -> None:
    scheduler = schedulers.load(name)()
    server = Server(bytes(4), 80)
    scheduler.add(server)
    scheduler.remove(server)
    scheduler.changed(server)
    scheduler.tick(0.0)
    assert scheduler.pick(schedulers.base.Flow(bytes(4), 1, bytes(4), 80), 0.0) is None


@EVERY
def test_nobody_is_picked_without_servers_and_after_the_last_has_left(name: str) -> None:
    farm = Farm(name)
    assert farm.pick() == "-"
    farm.add("A", 1)
    assert farm.pick() == "A"
    farm.remove("A")
    assert farm.pick() == "-"


@EVERY
def test_nobody_is_picked_when_all_weights_are_zero(name: str) -> None:
    assert Farm(name, A=0, B=0).picks(2) == "--"


@pytest.mark.parametrize(
    ("name", "flags"),
    [*((name, []) for name in BUILT_IN), ("sh", ["sh-fallback"]), ("mh", ["mh-fallback"])],
)
def test_who_is_overloaded_is_not_picked_until_relieved(name: str, flags: list[str]) -> None:
    farm = Farm(name, *flags, A=1, B=1)
    farm.overload("A")
    farm.overload("B")
    assert farm.picks(2) == "--"
    farm.relieve("A")
    farm.relieve("B")
    assert farm.pick() in {"A", "B"}


@EVERY
def test_one_that_overrides_start_may_call_the_start_that_it_overrides(name: str) -> None:
    kind, taken_over = schedulers.load(name), []

    def start(self: Scheduler, servers: Sequence[Server]) -> None:
        kind.start(self, servers)
        taken_over.append(len(servers))

    servers = [Server(bytes((10, 0, 0, number)), 80, weight=number) for number in (1, 2, 3)]
    plain, own = kind(), type("Own", (kind,), {"start": start})()
    plain.start(servers)
    list(own.starting(servers))
    assert taken_over == [3]
    flows = [Flow(bytes((client,) * 4), client, bytes(4), 80) for client in range(20)]
    assert [own.pick(each, 0.0) for each in flows] == [plain.pick(each, 0.0) for each in flows]
