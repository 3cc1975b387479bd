"""The simulation itself: the life of connections, and what a scheduler is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.bench.farm import Farm
from lvsd.bench.simulation import SAMPLES, Course, Simulation
from lvsd.bench.workloads import KINDS, Arrival, arrivals, expected, flow_of
from lvsd.errors import PluginError
from schedulers.base import Scheduler, Server

if TYPE_CHECKING:
    from schedulers.base import Flow


class Noting(Scheduler):
    """Picks the last server of the list, and notes what it is told."""

    name = "noting"

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[str, object]] = []
        self.servers: list[Server] = []

    def add(self, server: Server) -> None:
        """Note it."""
        self.servers.append(server)
        self.notes.append(("add", (server.active, server.total)))

    def remove(self, server: Server) -> None:
        """Note it."""
        self.servers.remove(server)
        self.notes.append(("remove", (server.active, server.total)))

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - the base's
        """Return the last server."""
        self.notes.append(("pick", now))
        return self.servers[-1]

    def changed(self, server: Server) -> None:
        """Note the counts."""
        self.notes.append(("changed", (server.active, server.total)))

    def tick(self, now: float) -> None:
        """Note the time."""
        self.notes.append(("tick", now))


def play(scheduler: Scheduler, coming: list[Arrival], duration_s: float, victim: int) -> Course:
    farm = Farm(scheduler, (1, 1))
    return Simulation(farm, duration_s=duration_s, linger_s=2.0, victim=victim).play(coming)


def test_a_connection_is_active_then_inactive_for_the_linger_time_then_forgotten() -> None:
    scheduler = Noting()
    play(scheduler, [Arrival(0.5, 3.25, flow_of(1, 1, 1))], 10.0, victim=0)
    told = [note for note in scheduler.notes if note[0] != "tick"]
    assert told == [
        ("add", (0, 0)),
        ("add", (0, 0)),
        ("pick", 0.5),
        ("changed", (1, 1)),
        ("changed", (0, 1)),
        ("changed", (0, 0)),
        ("remove", (0, 0)),
        ("add", (0, 0)),
    ]


def test_the_scheduler_is_called_once_a_second_of_virtual_time() -> None:
    scheduler = Noting()
    play(scheduler, [], 10.0, victim=0)
    ticks = [note for note in scheduler.notes if note[0] == "tick"]
    assert ticks == [("tick", float(second)) for second in range(1, 11)]


def test_a_server_that_fails_loses_its_connections_and_comes_back_empty() -> None:
    scheduler = Noting()
    # The last server gets all; it is out from 60 s to 70 s, and its connection's end is not told.
    coming = [Arrival(50.0, 65.0, flow_of(1, 1, 1)), Arrival(75.0, 99.0, flow_of(2, 2, 2))]
    course = play(scheduler, coming, 100.0, victim=1)
    told = [note for note in scheduler.notes if note[0] != "tick"][2:]
    assert told == [
        ("pick", 50.0),
        ("changed", (1, 1)),
        ("remove", (1, 1)),
        ("add", (0, 0)),
        ("pick", 75.0),
        ("changed", (1, 1)),
        ("changed", (0, 1)),
    ]
    assert course.recovered_s == pytest.approx(5.0)
    assert course.worst_run == 1


def test_only_what_arrives_in_the_measured_part_is_counted() -> None:
    coming = [Arrival(at_s, at_s + 1, flow_of(1, 1, 1)) for at_s in (5.0, 30.0, 50.0, 65.0, 101.0)]
    course = play(Noting(), coming, 100.0, victim=0)
    assert course.picks == [0, 2]
    assert course.refused == 0


def test_connections_that_nobody_takes_are_refused() -> None:
    class Refusing(Noting):
        def pick(self, flow: Flow, now: float) -> None:
            pass

    course = play(Refusing(), [Arrival(30.0, 31.0, flow_of(1, 1, 1))], 100.0, victim=0)
    assert (course.picks, course.refused) == ([0, 0], 1)
    assert course.imbalances == [None] * SAMPLES


def test_a_pick_of_a_server_that_has_left_is_the_schedulers_error() -> None:
    class Clinging(Noting):
        def remove(self, server: Server) -> None:
            pass

    with pytest.raises(PluginError, match=r"10\.0\.0\.2 port 8080, a server that was never added"):
        play(Clinging(), [Arrival(65.0, 66.0, flow_of(1, 1, 1))], 100.0, victim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_workload_brings_the_load_that_was_asked_for(kind: str) -> None:
    asked = {"active": 50.0, "lifetime_s": 5.0, "duration_s": 1000.0}
    found = [arrivals(kind, seed=seed, **asked) for seed in (1, 2)]
    assert found[0] == arrivals(kind, seed=1, **asked)
    assert found[0] != found[1]
    for each in found:
        times = [arrival.at_s for arrival in each]
        assert times == sorted(times)
        assert len(each) == pytest.approx(expected(kind, **asked), rel=0.3)
        lasted = sum(arrival.ends_s - arrival.at_s for arrival in each)
        assert lasted / 1000 == pytest.approx(50, rel=0.35)


def test_clients_of_churn_come_and_go() -> None:
    def clients(kind: str) -> int:
        coming = arrivals(kind, active=100, lifetime_s=5, duration_s=200, seed=1)
        return len({arrival.flow.source for arrival in coming})

    assert clients("steady") <= 1000
    assert clients("churn") > 4000
