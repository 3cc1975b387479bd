"""What the schedulers say of their next pick, word for word. The list is newest first."""

from __future__ import annotations

from fractions import Fraction
from ipaddress import ip_address

import pytest

from schedulers.base import Flow, Server
from schedulers.least import LeastLoad
from schedulers.locality import not_of
from schedulers.mh import MaglevHashing
from schedulers.words import short, turn
from tests.unit.schedulers.farm import Farm

CLIENT, DESTINATION = "203.0.113.7", "192.0.2.1"
OVERLOADED, QUIESCED = "overloaded", "weight 0"

Said = list[tuple[str, int | Fraction | None, str]]


def said(farm: Farm, client: str = CLIENT, port: int = 40000) -> Said:
    """Return name, number and text of each server, in the order that decides ties."""
    flow = Flow(ip_address(client).packed, port, ip_address(DESTINATION).packed, 80)
    names = {server: name for name, server in farm.servers.items()}
    weighed = farm.scheduler.weigh(flow, 0.0)
    return [(names[each.server], each.number, each.text) for each in weighed]


def connects(farm: Farm, count: int) -> str:
    """Return the names of so many connections to the one destination."""
    return "".join(farm.connect(destination=DESTINATION) for _ in range(count))


def test_rr_says_how_many_picks_away_a_turn_is() -> None:
    farm = Farm("rr", A=1, B=1, C=1, D=0)
    farm.pick()
    assert said(farm) == [
        ("D", None, QUIESCED),
        ("C", 2, "2 picks away"),
        ("B", 0, "next in turn"),
        ("A", 1, "1 pick away"),
    ]


def test_wrr_says_at_which_cw_a_turn_comes() -> None:
    farm = Farm("wrr", A=4, B=3, C=2)
    assert said(farm) == [
        ("C", 0, "weight 2 >= cw 1, next in turn"),
        ("B", 1, "weight 3 >= cw 1, 1 pick away"),
        ("A", 2, "weight 4 >= cw 1, 2 picks away"),
    ]
    assert farm.picks(3) == "CBA"
    assert said(farm) == [
        ("C", 3, "weight 2 >= cw 2, 3 picks away"),
        ("B", 1, "weight 3 >= cw 3, 1 pick away"),
        ("A", 0, "weight 4 >= cw 4, next in turn"),
    ]


def test_wrr_says_at_once_how_far_away_a_turn_is_after_two_thousand_million_rounds() -> None:
    farm = Farm("wrr", A=2**31 - 1, B=2**31 - 2, C=1)
    assert farm.picks(3) == "CBA"
    assert [(name, number) for name, number, _ in said(farm)] == [
        ("C", 1 + 2 * (2**31 - 3)),
        ("B", 1),
        ("A", 0),
    ]


def test_wrr_goes_on_in_the_middle_of_its_ring_and_passes_over_who_is_overloaded() -> None:
    farm = Farm("wrr", A=2, B=2, C=2)
    assert farm.pick() == "C"
    farm.overload("B")
    farm.relieve("B")
    farm.overload("A")
    assert said(farm) == [
        ("C", 0, "weight 2 >= cw 1, next in turn"),
        ("B", 1, "weight 2 >= cw 1, 1 pick away"),
        ("A", None, OVERLOADED),
    ]


def test_lc_adds_up_the_overhead() -> None:
    farm = Farm("lc", A=3, B=1)
    assert farm.connects(3) == "BAB"
    assert said(farm) == [("B", 514, "256*2 + 2 = 514"), ("A", 257, "256*1 + 1 = 257")]


def test_wlc_divides_the_overhead_by_the_weight() -> None:
    farm = Farm("wlc", A=3, B=1)
    assert farm.connects(3) == "BAA"
    farm.servers["A"].open()
    assert said(farm) == [
        ("B", 257, "(256*1 + 1) / 1 = 257"),
        ("A", Fraction(515, 3), "(256*2 + 3) / 3 = 171.7"),
    ]


def test_wlc_says_who_is_not_in_the_race() -> None:
    farm = Farm("wlc", A=1, B=0, C=1)
    farm.overload("C")
    assert said(farm) == [
        ("C", None, OVERLOADED),
        ("B", None, QUIESCED),
        ("A", 0, "(256*0 + 0) / 1 = 0"),
    ]


def test_a_quiesced_server_says_so_even_if_it_is_overloaded_too() -> None:
    farm = Farm("wlc", A=1)
    farm.overload("A")
    farm.weigh("A", 0)
    assert said(farm) == [("A", None, QUIESCED)]


def test_sed_counts_the_connection_that_is_to_come() -> None:
    farm = Farm("sed", A=3, B=1)
    assert farm.connects(2) == "AA"
    assert said(farm) == [("B", 1, "(0 + 1) / 1 = 1"), ("A", 1, "(2 + 1) / 3 = 1")]


def test_nq_says_idle_and_else_what_sed_says() -> None:
    farm = Farm("nq", A=3, B=1)
    assert farm.connects(1) == "B"
    assert said(farm) == [("B", 2, "(1 + 1) / 1 = 2"), ("A", 0, "idle")]


def test_fo_says_how_far_a_weight_is_below_the_highest() -> None:
    farm = Farm("fo", A=5, B=9, C=3)
    farm.overload("B")
    assert said(farm) == [
        ("C", 2, "weight 3, 2 below highest"),
        ("B", None, OVERLOADED),
        ("A", 0, "weight 5, the highest usable"),
    ]


def test_ovf_says_who_is_full() -> None:
    farm = Farm("ovf", A=5, B=1, C=3)
    assert farm.connects(7) == "AAAAAAC"
    assert said(farm) == [
        ("C", 0, "active 1 <= weight 3, the highest usable"),
        ("B", 2, "active 0 <= weight 1, 2 below highest"),
        ("A", None, "full, active 6 > weight 5"),
    ]


def test_dh_says_whose_bucket_it_is() -> None:
    farm = Farm("dh", A=1, B=1, C=0)
    owner = "bucket 50 is its"
    assert said(farm) == [
        ("C", None, QUIESCED),
        ("B", None, "bucket 50 is another's"),
        ("A", 0, owner),
    ]
    farm.weigh("A", 0)
    assert said(farm)[-1] == ("A", None, f"{owner}, but weight 0")


def test_sh_says_whose_bucket_it_is_by_address_or_by_address_and_port() -> None:
    assert said(Farm("sh", A=1, B=2, C=1), "10.0.0.1") == [
        ("C", None, "bucket 39 is another's"),
        ("B", None, "bucket 39 is another's"),
        ("A", 0, "bucket 39 is its"),
    ]
    assert said(Farm("sh", "sh-port", A=1, B=2, C=1), "10.0.0.1")[-1] == (
        "A",
        0,
        "bucket 203 is its",
    )


def test_sh_fallback_says_how_many_buckets_on_a_server_is() -> None:
    farm = Farm("sh", "sh-fallback", A=1, B=2, C=1)
    farm.weigh("A", 0)  # which makes the table C, B, B, A still
    assert said(farm, "10.0.0.1") == [
        ("C", 2, "fallback step 2: bucket 80 is its"),
        ("B", 0, "fallback step 0: bucket 78 is its"),
        ("A", None, "bucket 39 is its, but weight 0"),
    ]


def test_mh_says_whose_slot_it_is_and_fills_no_table_for_that() -> None:
    farm = Farm("mh", A=1, B=1)
    assert said(farm) == [
        ("B", 0, "table slot 1705 of 4093 is its"),
        ("A", None, "table slot 1705 of 4093 is another's"),
    ]
    assert isinstance(farm.scheduler, MaglevHashing)
    assert farm.scheduler._table == []
    before = said(farm)
    farm.pick()
    assert said(farm) == before


def test_mh_fallback_says_at_which_step_a_server_is_met() -> None:
    farm = Farm("mh", "mh-fallback", A=3, B=2, C=1)
    farm.overload("C")
    assert said(farm) == [
        ("C", None, "table slot 1705 of 4093 is its, but overloaded"),
        ("B", 0, "fallback step 0: slot 434 is its"),
        ("A", 4, "fallback step 4: slot 13 is its"),
    ]


def test_mh_has_no_table_while_all_weights_have_always_been_zero() -> None:
    assert said(Farm("mh", A=0)) == [("A", None, QUIESCED)]


def test_lblc_keeps_a_home_that_can_cope_and_leaves_a_busy_one() -> None:
    farm = Farm("lblc", A=2, B=2)
    assert said(farm) == [("B", 0, "(256*0 + 0) / 2 = 0"), ("A", 0, "(256*0 + 0) / 2 = 0")]
    assert connects(farm, 2) == "BB"
    assert said(farm) == [
        ("B", 0, "home, active 2 <= weight 2"),
        ("A", None, "not the home of 192.0.2.1"),
    ]
    assert connects(farm, 1) == "B"
    assert said(farm) == [
        ("B", Fraction(771, 2), "busy home: (256*3 + 3) / 2 = 385.5"),
        ("A", 0, "(256*0 + 0) / 2 = 0"),
    ]


def test_lblc_keeps_a_busy_home_while_nobody_is_half_idle() -> None:
    farm = Farm("lblc", A=1)
    assert connects(farm, 2) == "AA"
    assert said(farm) == [("A", 0, "home, active 2 > weight 1, none half idle")]


def test_lblc_says_that_a_home_was_quiesced() -> None:
    farm = Farm("lblc", A=1, B=1)
    assert connects(farm, 1) == "B"
    farm.weigh("B", 0)
    assert said(farm) == [("B", None, "home: weight 0"), ("A", 0, "(256*0 + 0) / 1 = 0")]


def test_lblcr_weighs_the_set_first_and_the_others_when_it_is_busy() -> None:
    farm = Farm("lblcr", A=2, B=2, C=2)
    assert connects(farm, 3) == "CCC"
    assert said(farm) == [
        ("C", Fraction(771, 2), "busy home: (256*3 + 3) / 2 = 385.5"),
        ("B", 0, "(256*0 + 0) / 2 = 0"),
        ("A", 0, "(256*0 + 0) / 2 = 0"),
    ]
    assert connects(farm, 1) == "B"
    assert said(farm) == [
        ("B", Fraction(257, 2), "in the set: (256*1 + 1) / 2 = 128.5"),
        ("C", Fraction(771, 2), "in the set: (256*3 + 3) / 2 = 385.5"),
        ("A", None, "not in the set of 192.0.2.1"),
    ]


@pytest.mark.parametrize("name", ["rr", "wrr", "wlc", "dh", "sh", "mh", "lblc", "lblcr"])
def test_nothing_is_said_without_servers(name: str) -> None:
    assert said(Farm(name)) == []


def test_a_scheduler_of_a_third_party_that_has_a_load_says_it() -> None:
    class Total(LeastLoad):
        name = "total"

        def load(self, server: Server) -> int:
            return server.total

    total = Total()
    server = Server(bytes(4), 80)
    total.add(server)
    (weighed,) = total.weigh(Flow(bytes(4), 1, bytes(4), 80), 0.0)
    assert (weighed.server, weighed.number, weighed.text) == (server, 0, "load 0")


def test_an_ipv6_address_is_too_long_to_be_said() -> None:
    assert not_of("the home", bytes(16)) == "not the home of this address"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (257, "257"),
        (100, "100"),
        (Fraction(1, 3), "0.33"),
        (Fraction(3, 2), "1.5"),
        (Fraction(514, 3), "171.3"),
        (128.5, "128.5"),
        (Fraction(1, 30), "0.033"),
        (Fraction(2999, 300), "10"),
        (-3, "-3"),
    ],
)
def test_a_number_is_short(number: Fraction | float, text: str) -> None:
    assert short(number) == text


def test_a_turn_is_said_in_the_singular_too() -> None:
    assert [turn(away) for away in (0, 1, 2)] == ["next in turn", "1 pick away", "2 picks away"]
