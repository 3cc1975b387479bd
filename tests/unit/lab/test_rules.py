"""What the demo expects of each scheduler, held against the schedulers themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

import schedulers
from lvsd.lab import rules
from lvsd.lab.rules import TRIALS, Outcome, Site, Trial
from lvsd.lab.settings import RealServer
from lvsd.lab.traffic import Answer
from lvsd.packet.address import pack, parse_endpoint
from schedulers.base import Flow, Server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schedulers.base import Scheduler

VIP = "198.51.100.10"
SERVERS = {
    "server1": RealServer("10.0.0.11:8080", 3),
    "server2": RealServer("10.0.0.12:8080", 2),
    "server3": RealServer("10.0.0.13:8080", 1),
}
SOURCES = [f"192.0.2.{number}" for number in range(101, 121)]


@dataclass
class PaperConnection:
    """A connection that exists in the scheduler's counts only."""

    answer: Answer
    server: Server
    scheduler: Scheduler
    open: bool = True

    def close(self) -> None:
        """Count the connection as inactive."""
        if self.open:
            self.open = False
            self.server.deactivate()
            self.scheduler.changed(self.server)


@dataclass
class PaperVisitor:
    """Asks the scheduler itself instead of sending packets."""

    scheduler: Scheduler
    vip: str = VIP
    names: dict[int, str] = field(default_factory=dict)
    ports: count[int] = field(default_factory=lambda: count(40000))

    def add(self, servers: Mapping[str, RealServer]) -> None:
        """Give the scheduler its servers."""
        for name, server in servers.items():
            address, port = parse_endpoint(server.address)
            entry = Server(address, port, server.weight)
            self.names[id(entry)] = name
            self.scheduler.add(entry)

    def open(self, source: str) -> PaperConnection:
        """Let the scheduler pick, and count the connection."""
        flow = Flow(pack(source), next(self.ports), pack(self.vip), 80)
        server = self.scheduler.pick(flow, 0.0)
        assert server is not None
        server.open()
        server.activate()
        self.scheduler.changed(server)
        answer = Answer(self.names[id(server)], source, source, 0.001)
        return PaperConnection(answer, server, self.scheduler)

    def get(self, source: str) -> Answer:
        """Open and close a connection."""
        connection = self.open(source)
        connection.close()
        return connection.answer


def site(scheduler: str) -> Site:
    visitor = PaperVisitor(schedulers.load(scheduler)(frozenset()))
    visitor.add(SERVERS)
    return Site(SERVERS, visitor, SOURCES)  # type: ignore[arg-type]  # stands in for a Visitor


def trial(name: str) -> Trial:
    return next(trial for trial in TRIALS if trial.name == name)


@pytest.mark.parametrize("name", [trial.name for trial in TRIALS])
def test_a_scheduler_passes_its_own_trial(name: str) -> None:
    sent: list[None] = []
    where = site(name)

    outcome = trial(name).run(where, lambda: sent.append(None))

    assert outcome.judge() == []
    assert len(sent) == len(outcome.answers) == trial(name).requests(where)


@pytest.mark.parametrize(
    ("name", "other"),
    [("rr", "wrr"), ("wrr", "rr"), ("sh", "rr"), ("wlc", "wrr"), ("wlc", "lc")],
)
def test_another_scheduler_fails_the_trial(name: str, other: str) -> None:
    outcome = trial(name).run(site(other), lambda: None)

    assert outcome.judge() != []


def test_rr_expects_equal_shares_whatever_the_weights() -> None:
    outcome = trial("rr").run(site("rr"), lambda: None)

    assert outcome.expected == {"server1": 100, "server2": 100, "server3": 100}


def test_wrr_expects_shares_by_weight() -> None:
    outcome = trial("wrr").run(site("wrr"), lambda: None)

    assert outcome.expected == {"server1": 150, "server2": 100, "server3": 50}


def test_wlc_expects_the_emptied_server_to_be_filled_again() -> None:
    outcome = trial("wlc").run(site("wlc"), lambda: None)

    assert outcome.expected == {"server1": 120, "server2": 40, "server3": 20}


def test_requests_are_rounded_up_to_whole_cycles() -> None:
    seven = rules.InTurn("rr", "", weighted=False, count=7)

    assert seven.requests(site("rr")) == 9


def test_a_number_that_is_no_whole_cycle_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="7 requests are no whole number of cycles of 3"):
        rules.proportional({"a": 1, "b": 2}, 7)


def test_sh_homes_are_those_of_the_kernels_hash() -> None:
    # Buckets 39, 137 and 192 of ipvs: with weights 3, 2, 1 the newest server comes first, so
    # bucket % 6 is 0: server3, 1 and 2: server2, 3 to 5: server1.
    home = rules.homes(list(SERVERS.items()), ["10.0.0.1", "10.0.0.2", "192.168.0.1"], VIP)

    assert home == {"10.0.0.1": "server1", "10.0.0.2": "server1", "192.168.0.1": "server3"}


def test_the_verdict_names_a_server_with_too_few_and_one_with_too_many() -> None:
    outcome = Outcome({"a": 1, "b": 1}, [Answer("a", "c", "c", 0.1), Answer("a", "c", "c", 0.1)])

    assert outcome.judge() == [
        "a answered 2 requests instead of 1",
        "b answered 0 requests instead of 1",
    ]


def test_the_verdict_names_a_server_that_nobody_expected() -> None:
    outcome = Outcome({}, [Answer("stranger", "c", "c", 0.1)])

    assert outcome.judge() == ["stranger answered 1 requests instead of 0"]


def test_the_verdict_tells_of_a_server_that_did_not_see_its_client() -> None:
    outcome = Outcome({"a": 1}, [Answer("a", "10.0.0.1", "192.0.2.101", 0.1)])

    assert outcome.judge() == ["a saw 10.0.0.1 instead of its client 192.0.2.101"]


def test_behind_fullnat_a_server_must_see_a_local_address() -> None:
    right = Answer("a", "10.0.0.3", "192.0.2.101", 0.1)
    wrong = Answer("a", "192.0.2.101", "192.0.2.101", 0.1)
    local = ("10.0.0.2", "10.0.0.3")

    assert Outcome({"a": 1}, [right], seen_as=local).judge() == []
    assert Outcome({"a": 1}, [wrong], seen_as=local).judge() == [
        "a saw 192.0.2.101 instead of 10.0.0.2 or 10.0.0.3"
    ]
