"""Which ports are FULLNAT's, and which the host's."""

from __future__ import annotations

import pytest

from lvsd.core.host_ports import HOST_NEEDS, Division, divide, parse, ranges, write
from lvsd.core.local_pool import PORTS

HOST = (32768, 60999)
"""Linux's default."""


def test_of_all_ports_the_host_keeps_the_top_of_its_own() -> None:
    division = divide([PORTS], HOST, [])
    first = HOST[1] - HOST_NEEDS + 1
    assert division == Division(((HOST[0], first - 1),), ((first, HOST[1]),), HOST_NEEDS)


def test_where_the_host_has_enough_beside_it_keeps_none() -> None:
    division = divide([(20000, 40000)], HOST, [])
    assert division == Division(((32768, 40000),), (), 60999 - 40000)


def test_ranges_apart_from_the_hosts_reserve_nothing() -> None:
    assert divide([(1025, 32767)], HOST, []) == Division((), (), 28232)


def test_a_small_range_gives_all_it_has_whatever_the_host_keeps_of_others() -> None:
    division = divide([PORTS, (60900, 60999)], HOST, [])
    assert (60900, 60999) in division.reserved
    assert division.kept == ((60900 - HOST_NEEDS, 60899),)
    assert division.left == HOST_NEEDS


def test_the_host_keeps_half_where_it_has_few() -> None:
    assert divide([PORTS], (40000, 40009), []) == Division(((40000, 40004),), ((40005, 40009),), 5)


def test_what_the_operator_has_reserved_is_none_that_the_host_takes() -> None:
    division = divide([(32768, 50000)], HOST, [(40000, 40999), (100, 200)])
    assert division.reserved == ((32768, 39999), (41000, 50000))
    assert division.left == 60999 - 50000


def test_a_host_that_takes_no_ports_keeps_none() -> None:
    assert divide([PORTS], (40000, 40009), [(1, 65535)]) == Division((), (), 0)


@pytest.mark.parametrize("text", ["", "8080", "8080,9148-9150", "1-3,5,7-65535"])
def test_ranges_are_read_and_written_as_the_kernel_does(text: str) -> None:
    assert write(parse(text)) == text


def test_ranges_that_touch_or_overlap_are_written_as_one() -> None:
    assert write([(5, 9), (1, 4), (8, 12), (14, 14)]) == "1-12,14"
    assert ranges([]) == ()


@pytest.mark.parametrize("text", ["a", "1-2-3", "-5"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse(text)
