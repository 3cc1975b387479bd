"""Servers that refuse clients or leave them waiting, by what the daemon has seen lately."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvsd.doctor import questions
from lvsd.doctor.checks import CHECKS, refusing
from lvsd.doctor.finding import Level
from lvsd.doctor.snapshot import Chain, Counts, Echo
from tests.unit.doctor.cases import (
    DR,
    FULLNAT,
    LOCAL,
    NAT,
    TUN,
    said,
    service,
    snapshot,
    without,
)

ANSWERING = Counts(1, 5, 5, heard_ago_s=3)


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        (Counts(refused=37, refused_ago_s=3), "problem"),
        (Counts(refused=1, refused_ago_s=3), "warning"),
        (Counts(refused=37, refused_ago_s=300), "warning"),
    ],
)
def test_a_server_that_refuses_is_told_with_the_number_and_the_age(
    counts: Counts, level: str
) -> None:
    [finding] = refusing.CHECK.look(snapshot(service(NAT, counts)))
    last = (
        "the last connection" if counts.refused == 1 else f"the last {counts.refused} connections"
    )
    assert finding.level.name.lower() == level
    assert finding.what.startswith(f"10.0.0.11:80 refused {last}, {counts.refused_ago_s} s ago: ")
    assert (finding.remedy, finding.at) == ("ss -ltnp sport = :80", "10.0.0.11")


def test_the_port_that_refused_is_named_where_clients_choose_it() -> None:
    counts = Counts(refused=3, refused_ago_s=3, refused_port=3000)
    [finding] = refusing.CHECK.look(snapshot(service(NAT, counts)))
    assert finding.what.startswith("10.0.0.11:3000 refused")
    assert finding.remedy == "ss -ltnp sport = :3000"


def test_a_refusal_of_long_ago_is_forgotten() -> None:
    given = snapshot(service(NAT, Counts(refused=37, refused_ago_s=601)))
    assert said(refusing.CHECK, given) == []


@pytest.mark.parametrize(("waiting", "level"), [(1, "warning"), (3, "problem")])
def test_a_server_that_lets_connections_time_out_is_told_with_their_number(
    waiting: int, level: str
) -> None:
    counts = Counts(heard_ago_s=90, waiting=waiting, waiting_s=20, tried_ago_s=2)
    [(found, what)] = said(refusing.CHECK, snapshot(service(FULLNAT, counts)))
    assert found == level
    assert what.startswith(
        f"10.3.0.11:80 answered none of the last {waiting} connections, for 20 s"
    )


@pytest.mark.parametrize(
    "counts",
    [
        Counts(heard_ago_s=2, waiting=1, waiting_s=2),
        Counts(heard_ago_s=500, waiting=9, waiting_s=400, tried_ago_s=61),
        ANSWERING,
    ],
    ids=["just-begun", "nobody-tried-since", "answering"],
)
def test_what_may_be_over_or_has_only_begun_is_no_silence(counts: Counts) -> None:
    assert said(refusing.CHECK, snapshot(service(NAT, counts))) == []


@pytest.mark.parametrize("address", [DR, TUN])
def test_clients_that_repeat_their_syns_are_told_where_answers_go_elsewhere(address: bytes) -> None:
    given = snapshot(service(address, Counts(waiting=9, waiting_s=99, repeated=5)))
    [(level, what)] = said(refusing.CHECK, given)
    assert level == "warning"
    assert "repeated 5 SYNs since one was answered" in what


WAITING = Counts(heard_ago_s=90, waiting=5, waiting_s=20, tried_ago_s=2)


@pytest.mark.parametrize("broken", ["gateway", "local address", "forwarding", "firewall"])
def test_a_server_is_not_said_to_hang_where_another_check_says_why_it_is_silent(
    broken: str,
) -> None:
    mode = FULLNAT if broken == "local address" else NAT
    given = snapshot(service(mode, WAITING))
    machine = given.machine
    if broken == "gateway":
        given = without(given, echoes=[Echo(questions.OUTSIDE[4], NAT)])
    elif broken == "local address":
        given = without(given, echoes=[Echo(LOCAL, FULLNAT)])
    elif broken == "forwarding":
        given = replace(given, machine=replace(machine, forwarding={4: False}))
    else:
        drops = Chain("inet", "filter", "forward", "forward", knows_untracked=False)
        given = replace(given, machine=replace(machine, chains=(drops,)))
    problems = [
        finding
        for check in CHECKS
        for finding in check.look(given)
        if finding.level == Level.PROBLEM
    ]
    assert len(problems) == 1
    assert "hangs" not in problems[0].what


def test_a_server_is_said_to_hang_though_another_one_has_the_wrong_gateway() -> None:
    given = snapshot(service(NAT, WAITING), service(FULLNAT, WAITING))
    given = without(given, echoes=[Echo(questions.OUTSIDE[4], NAT)])
    [(level, what)] = said(refusing.CHECK, given)
    assert level == "problem"
    assert what.startswith("10.3.0.11:80 answered none")
