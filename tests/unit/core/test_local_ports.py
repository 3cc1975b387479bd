"""FULLNAT's local ports and first sequence numbers."""

from __future__ import annotations

import pytest

from lvsd.core.local_ports import GAP, PORTS, PROBES, LocalPool, SequenceNumbers
from lvsd.packet.view import TCP, UDP

REAL = (b"\x0a\0\0\x0b", 80)
OTHER = (b"\x0a\0\0\x0c", 80)
LIP1, LIP2 = b"\x0a\0\0\x02", b"\x0a\0\0\x03"


def test_local_addresses_take_turns_and_so_do_the_ports_of_each() -> None:
    pool = LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [pool.take(TCP, REAL, None, lambda *_: True) for _ in range(5)]
    assert taken == [(LIP1, 5000), (LIP2, 5000), (LIP1, 5001), (LIP2, 5001), None]


def test_an_address_that_is_not_the_hosts_is_not_given() -> None:
    pool = LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [pool.take(TCP, REAL, {LIP2}, lambda *_: True) for _ in range(3)]
    assert taken == [(LIP2, 5000), (LIP2, 5001), None]


def test_a_port_that_is_taken_towards_one_server_is_free_towards_another() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    assert pool.take(TCP, REAL, None, lambda *_: True) == (LIP1, 5000)
    assert pool.take(TCP, REAL, None, lambda *_: True) is None
    assert pool.take(TCP, OTHER, None, lambda *_: True) == (LIP1, 5000)


def test_a_port_that_was_given_back_is_given_again() -> None:
    pool = LocalPool((LIP1,), 5000, 5001)
    for _ in range(2):
        pool.take(TCP, REAL, None, lambda *_: True)
    pool.give_back(TCP, REAL, LIP1)
    assert pool.take(TCP, REAL, None, lambda _, port: port == 5001) == (LIP1, 5001)


def test_a_port_in_use_is_passed_over() -> None:
    pool = LocalPool((LIP1,), 5000, 5003)
    assert pool.take(TCP, REAL, None, lambda _, port: port == 5002) == (LIP1, 5002)


def test_so_many_ports_are_looked_at_and_no_more() -> None:
    pool, seen = LocalPool((LIP1,)), []

    def is_free(_: bytes, port: int) -> bool:
        seen.append(port)
        return False

    assert pool.take(TCP, REAL, None, is_free) is None
    assert seen == list(range(1025, 1025 + PROBES))
    assert pool.take(TCP, REAL, None, is_free) is None
    assert seen[PROBES] == 1025 + PROBES


def test_without_addresses_there_is_no_port() -> None:
    assert LocalPool().take(TCP, REAL, None, lambda *_: True) is None


def test_the_ports_of_one_protocol_are_free_for_another() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    assert pool.take(UDP, REAL, None, lambda *_: True) == (LIP1, 5000)
    assert pool.take(TCP, REAL, None, lambda *_: True) == (LIP1, 5000)
    assert pool.take(UDP, REAL, None, lambda *_: True) is None


def test_pools_that_share_an_address_go_on_where_each_left_off() -> None:
    low, high = LocalPool((LIP1,), 5000, 5999), LocalPool((LIP1,), 6000, 6999)
    taken: set[int] = set()
    for _ in range(3):
        for pool in (low, high):
            end = pool.take(TCP, REAL, None, lambda _, port: port not in taken)
            assert end is not None
            taken.add(end[1])
    assert sorted(taken) == [5000, 5001, 5002, 6000, 6001, 6002]


def test_the_ports_of_one_pool_do_not_count_against_anothers_range() -> None:
    many, few = LocalPool((LIP1,), 5000, 5999), LocalPool((LIP1,), 6000, 6001)
    for _ in range(10):
        many.take(TCP, REAL, None, lambda *_: True)
    assert few.take(TCP, REAL, None, lambda *_: True) == (LIP1, 6000)


def test_an_end_that_this_pool_has_not_given_counts_for_none() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    pool.give_back(TCP, REAL, LIP1)
    assert pool.take(TCP, REAL, None, lambda *_: True) == (LIP1, 5000)
    assert pool.take(TCP, REAL, None, lambda *_: True) is None


@pytest.mark.parametrize("last", [5, 2**31, 2**32 - 3])
def test_first_numbers_grow_for_a_pair_whatever_was_seen_of_it(last: int) -> None:
    numbers = SequenceNumbers(b"secret")
    first = numbers.first(LIP1, REAL[0], 10.0)
    end = (first + last % 2**31) % 2**32
    numbers.seen(LIP1, REAL[0], end)
    second = numbers.first(LIP1, REAL[0], 10.0)
    assert (second - end) % 2**32 == GAP


def test_first_numbers_grow_with_time_alone() -> None:
    numbers = SequenceNumbers(b"secret")
    first = numbers.first(LIP1, REAL[0], 10.0)
    assert (numbers.first(LIP1, REAL[0], 12.0) - first) % 2**32 == 2 * 250_000


def test_pairs_have_numbers_of_their_own_and_so_have_secrets() -> None:
    numbers, others = SequenceNumbers(b"secret"), SequenceNumbers(b"other")
    firsts = {
        numbers.first(LIP1, REAL[0], 0.0),
        numbers.first(LIP2, REAL[0], 0.0),
        numbers.first(LIP1, OTHER[0], 0.0),
        others.first(LIP1, REAL[0], 0.0),
    }
    assert len(firsts) == 4


def test_an_end_that_lies_behind_changes_nothing() -> None:
    numbers = SequenceNumbers(b"secret")
    first = numbers.first(LIP1, REAL[0], 10.0)
    numbers.seen(LIP1, REAL[0], (first - 1000) % 2**32)
    assert (numbers.first(LIP1, REAL[0], 10.0) - first) % 2**32 == GAP


@pytest.mark.parametrize("rate", [10, 1000, 100_000])
def test_a_port_that_comes_again_after_all_others_begins_above_its_old_numbers(rate: int) -> None:
    numbers = SequenceNumbers(b"secret")
    pair = LIP1, REAL[0]
    numbers.seen(*pair, (numbers.first(*pair, 0.0) + 10**9) % 2**32)
    cycle = PORTS[1] - PORTS[0] + 1
    firsts = [numbers.first(*pair, number / rate) for number in range(cycle + 1000)]
    later = zip(firsts, firsts[cycle:], strict=False)
    assert all(0 < (again - first) % 2**32 < 2**31 for first, again in later)
