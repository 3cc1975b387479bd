"""FULLNAT's local ports and first sequence numbers."""

from __future__ import annotations

import pytest

from lvsd.core.local_ports import GAP, PROBES, LocalPool, LocalPorts, SequenceNumbers

REAL = (b"\x0a\0\0\x0b", 80)
OTHER = (b"\x0a\0\0\x0c", 80)
LIP1, LIP2 = b"\x0a\0\0\x02", b"\x0a\0\0\x03"


def test_local_addresses_take_turns_and_so_do_the_ports_of_each() -> None:
    ports, pool = LocalPorts(), LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [ports.take(pool, REAL, None, lambda *_: True) for _ in range(5)]
    assert taken == [(LIP1, 5000), (LIP2, 5000), (LIP1, 5001), (LIP2, 5001), None]


def test_an_address_that_is_not_the_hosts_is_not_given() -> None:
    ports, pool = LocalPorts(), LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [ports.take(pool, REAL, {LIP2}, lambda *_: True) for _ in range(3)]
    assert taken == [(LIP2, 5000), (LIP2, 5001), None]


def test_a_port_that_is_taken_towards_one_server_is_free_towards_another() -> None:
    ports, pool = LocalPorts(), LocalPool((LIP1,), 5000, 5000)
    assert ports.take(pool, REAL, None, lambda *_: True) == (LIP1, 5000)
    assert ports.take(pool, REAL, None, lambda *_: True) is None
    assert ports.take(pool, OTHER, None, lambda *_: True) == (LIP1, 5000)


def test_a_port_that_was_given_back_is_given_again() -> None:
    ports, pool = LocalPorts(), LocalPool((LIP1,), 5000, 5001)
    for _ in range(2):
        ports.take(pool, REAL, None, lambda *_: True)
    ports.give_back(REAL, LIP1)
    assert ports.take(pool, REAL, None, lambda _, port: port == 5001) == (LIP1, 5001)


def test_a_port_in_use_is_passed_over() -> None:
    ports, pool = LocalPorts(), LocalPool((LIP1,), 5000, 5003)
    assert ports.take(pool, REAL, None, lambda _, port: port == 5002) == (LIP1, 5002)


def test_so_many_ports_are_looked_at_and_no_more() -> None:
    ports, pool, seen = LocalPorts(), LocalPool((LIP1,)), []

    def is_free(_: bytes, port: int) -> bool:
        seen.append(port)
        return False

    assert ports.take(pool, REAL, None, is_free) is None
    assert seen == list(range(1025, 1025 + PROBES))
    assert ports.take(pool, REAL, None, is_free) is None
    assert seen[PROBES] == 1025 + PROBES


def test_without_addresses_there_is_no_port() -> None:
    assert LocalPorts().take(LocalPool(), REAL, None, lambda *_: True) is None


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
