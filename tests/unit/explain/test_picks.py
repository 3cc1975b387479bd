"""The table of picks: what the schedulers' docstrings show, and what becomes of odd input."""

from __future__ import annotations

import re
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from lvsd.explain.model import Candidate
from lvsd.explain.picks import cells, choice, letters, lineup, markdown, picks, winner
from schedulers import BUILT_IN, UnknownSchedulerError, load
from schedulers.base import Flow, Scheduler, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.explain.model import Choice


class First(Scheduler):
    """A third party's scheduler: it picks the oldest server, and does not say why."""

    name = "first"

    def __init__(self, flags: frozenset[str] = frozenset()) -> None:
        super().__init__(flags)
        self.servers: list[Server] = []

    def add(self, server: Server) -> None:
        """Take in a new server."""
        self.servers.append(server)

    def remove(self, server: Server) -> None:
        """Forget a server."""
        self.servers.remove(server)

    def pick(self, flow: Flow, now: float) -> Server | None:  # noqa: ARG002 - neither plays a part
        """Return the oldest server."""
        return self.servers[0] if self.servers else None


def docstring(scheduler: str) -> str:
    """Return the docstring of a built-in scheduler's file."""
    text = sys.modules[BUILT_IN[scheduler].__module__].__doc__
    assert text is not None
    return text


def sequence(choices: Sequence[Choice]) -> str:
    """Return the names of the picks in a row."""
    return "".join(map(winner, choices))


@pytest.mark.parametrize(
    ("scheduler", "weights", "rows"),
    [
        ("lc", [1, 1, 1], 4),
        ("wlc", [3, 2, 1], 7),
        ("sed", [3, 2, 1], 4),
        ("nq", [3, 2, 1], 6),
    ],
)
def test_the_table_in_a_docstring_is_the_one_of_the_scheduler(
    scheduler: str, weights: list[int], rows: int
) -> None:
    documented = [line.split() for line in docstring(scheduler).splitlines()]
    documented = [line for line in documented if line and line[0].isdigit() and len(line) == 5]
    made = [
        [str(number), *cells(row).values(), winner(row)]
        for number, row in enumerate(picks(scheduler, weights, rows), 1)
    ]
    assert made == documented


def test_rrs_docstring_has_the_sequence_of_the_scheduler() -> None:
    found = re.search(r"list is C, B, A: ``([ABC ]+)``", docstring("rr"))
    assert found is not None
    assert sequence(picks("rr", [1, 1, 1], 6)) == found[1].replace(" ", "")


def test_wrrs_docstring_has_the_sequence_of_the_scheduler_and_its_cw() -> None:
    rows = re.findall(r"^    (\d)     (?:[ABC, ]+?)  +([ABC]+)$", docstring("wrr"), re.MULTILINE)
    choices = picks("wrr", [4, 3, 2], 12)
    said = [each.text for row in choices for each in row.candidates if each.picked]
    levels = [re.sub(r"weight \d >= cw (\d), next in turn", r"\1", text) for text in said]
    assert len(rows) == 5
    assert sequence(choices) == "".join(names for _, names in rows)
    assert "".join(levels) == "".join(cw * len(names) for cw, names in rows)


def test_ovfs_docstring_has_the_sequence_of_the_scheduler() -> None:
    found = re.search(r"``([ABC ]+)``, then nobody", docstring("ovf"))
    assert found is not None
    assert sequence(picks("ovf", [3, 2, 1], 10)) == found[1].replace(" ", "") + "-"


def test_dhs_docstring_has_the_picks_of_the_scheduler() -> None:
    found = re.findall(r"([\d.]{7,}) (?:has )?bucket\s+(\d+)", docstring("dh"))
    choices = picks("dh", [1, 1, 1], 3, clients=[address for address, _ in found])
    said = [each.text for row in choices for each in row.candidates if each.picked]
    assert said == [f"bucket {bucket} is its" for _, bucket in found]
    assert sequence(choices) == "CAC"


@pytest.mark.parametrize(("scheduler", "sequence_said"), [("lblc", "CCCBA"), ("lblcr", "CCCBB")])
def test_the_example_of_a_docstring_with_a_cache_is_what_the_scheduler_does(
    scheduler: str, sequence_said: str
) -> None:
    last = "10.0.0.2" if scheduler == "lblc" else "10.0.0.1"
    choices = picks(scheduler, [2, 2, 2], 5, clients=["10.0.0.1"] * 4 + [last])
    assert sequence(choices) == sequence_said


def test_the_table_as_markdown() -> None:
    assert markdown(picks("wlc", [3, 2], 3)) == (
        "| pick | A | B | picked |\n"
        "|---|---|---|---|\n"
        "| 1 | 0 | 0 | B |\n"
        "| 2 | 0 | 128.5 | A |\n"
        "| 3 | 85.7 | 128.5 | A |\n"
    )


def test_who_is_not_in_the_race_has_a_dash_and_so_has_a_pick_of_nobody() -> None:
    assert markdown(picks("wlc", [0, 0], 1)) == (
        "| pick | A | B | picked |\n|---|---|---|---|\n| 1 | - | - | - |\n"
    )


def test_a_candidate_has_the_counts_of_the_time_before_its_connection() -> None:
    first, second = picks("sed", [2, 1], 2)
    assert first.candidates == (
        Candidate("A", 2, 0, 0, 0.5, "(0 + 1) / 2 = 0.5", picked=True),
        Candidate("B", 1, 0, 0, 1.0, "(0 + 1) / 1 = 1", picked=False),
    )
    assert second.candidates == (
        Candidate("A", 2, 1, 0, 1.0, "(1 + 1) / 2 = 1", picked=False),
        Candidate("B", 1, 0, 0, 1.0, "(0 + 1) / 1 = 1", picked=True),
    )
    assert (first.scheduler, first.rule) == ("sed", BUILT_IN["sed"].rule)


def test_clients_that_are_named_come_over_and_over() -> None:
    found = sequence(picks("sh", [1, 2, 1], 4, clients=["10.0.0.1", "10.0.0.2"]))
    assert found == "ABAB"


def test_clients_come_one_each_when_none_is_named() -> None:
    named = [f"198.51.100.{host}" for host in range(1, 21)]
    assert picks("sh", [1, 1, 1], 20) == picks("sh", [1, 1, 1], 20, clients=named)


def test_clients_may_have_ipv6_addresses() -> None:
    (found,) = picks("lblc", [1], 1, clients=["2001:db8::7"])
    assert winner(found) == "A"


def test_flags_reach_the_scheduler() -> None:
    plain = picks("sh", [0, 1], 8)
    fallback = picks("sh", [0, 1], 8, flags=frozenset({"sh-fallback"}))
    assert set(sequence(plain)) == {"-", "B"}
    assert set(sequence(fallback)) == {"B"}


@pytest.mark.parametrize(
    ("place", "name"),
    [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")],
)
def test_servers_are_named_as_columns_of_a_spreadsheet_are(place: int, name: str) -> None:
    assert letters(place) == name


def test_servers_and_their_weights_stand_in_the_order_in_which_they_were_added() -> None:
    assert list(lineup(picks("wlc", [4, 0, 5], 2)).items()) == [("A", 4), ("B", 0), ("C", 5)]


def test_a_scheduler_that_does_not_say_why_has_its_picks_shown_all_the_same() -> None:
    (found,) = picks(First, [1, 1], 1)
    assert [(each.server, each.number, each.picked) for each in found.candidates] == [
        ("A", None, True),
        ("B", None, False),
    ]
    assert {each.text for each in found.candidates} == {"the scheduler does not say why"}


def test_a_server_that_nothing_was_said_of_is_a_candidate_when_it_was_picked() -> None:
    server = Server(ip_address("10.0.0.1").packed, 80)
    found = choice(First(), [], server, lambda _: "it")
    assert [(each.server, each.picked) for each in found.candidates] == [("it", True)]


def test_candidates_stand_in_the_order_in_which_ties_are_decided() -> None:
    wlc = load("wlc")()
    servers = {Server(bytes((10, 0, 0, host)), 80): f"rs{host}" for host in (1, 2)}
    for server in servers:
        wlc.add(server)
    flow = Flow(bytes(4), 1, bytes(4), 80)
    weighed = wlc.weigh(flow, 0.0)
    found = choice(wlc, weighed, wlc.pick(flow, 0.0), servers.__getitem__)
    assert [(each.server, each.picked) for each in found.candidates] == [
        ("rs2", True),
        ("rs1", False),
    ]


def test_no_picks_are_an_empty_table() -> None:
    assert picks("rr", [1], 0) == ()
    assert markdown(()) == "| pick | picked |\n|---|---|\n"


def test_an_unknown_scheduler_or_flag_is_refused() -> None:
    with pytest.raises(UnknownSchedulerError):
        picks("worst", [1], 1)
    with pytest.raises(ValueError, match="rr has no flag sh-port"):
        picks("rr", [1], 1, flags=frozenset({"sh-port"}))
