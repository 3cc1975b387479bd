"""FULLNAT's local ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.local_ports import PROBES, LocalPool
from lvsd.packet.view import TCP, UDP, split_key

if TYPE_CHECKING:
    from collections.abc import Container

    from forwarders.base import End

REAL = (b"\x0a\0\0\x0b", 80)
OTHER = (b"\x0a\0\0\x0c", 80)
LIP1, LIP2 = b"\x0a\0\0\x02", b"\x0a\0\0\x03"


def take(
    pool: LocalPool,
    real: End = REAL,
    owned: Container[bytes] | None = None,
    taken: Container[bytes] = (),
    protocol: int = TCP,
) -> End | None:
    """Return the local endpoint of the key that a pool gives."""
    given = pool.take(protocol, real, owned, taken)
    if given is None:
        return None
    assert split_key(given)[0] == real
    return split_key(given)[1]


class Busy:
    """Has all keys but those with some ports, and remembers which ports it was asked for."""

    def __init__(self, *free: int) -> None:
        self.free = free
        self.seen: list[int] = []

    def __contains__(self, sought: object) -> bool:
        assert isinstance(sought, bytes)
        self.seen.append(split_key(sought)[1][1])
        return self.seen[-1] not in self.free


def test_local_addresses_take_turns_and_so_do_the_ports_of_each() -> None:
    pool = LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [take(pool) for _ in range(5)]
    assert taken == [(LIP1, 5000), (LIP2, 5000), (LIP1, 5001), (LIP2, 5001), None]


def test_an_address_that_is_not_the_hosts_is_not_given() -> None:
    pool = LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [take(pool, owned={LIP2}) for _ in range(3)]
    assert taken == [(LIP2, 5000), (LIP2, 5001), None]


def test_a_port_that_is_taken_towards_one_server_is_free_towards_another() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    assert take(pool) == (LIP1, 5000)
    assert take(pool) is None
    assert take(pool, OTHER) == (LIP1, 5000)


def test_a_port_that_was_given_back_is_given_again() -> None:
    pool = LocalPool((LIP1,), 5000, 5001)
    for _ in range(2):
        take(pool)
    pool.give_back(TCP, REAL, LIP1)
    assert take(pool, taken=Busy(5001)) == (LIP1, 5001)


def test_a_port_in_use_is_passed_over() -> None:
    pool = LocalPool((LIP1,), 5000, 5003)
    assert take(pool, taken=Busy(5002)) == (LIP1, 5002)


def test_so_many_ports_are_looked_at_and_no_more() -> None:
    pool, busy = LocalPool((LIP1,)), Busy()
    assert take(pool, taken=busy) is None
    assert busy.seen == list(range(1025, 1025 + PROBES))
    assert take(pool, taken=busy) is None
    assert busy.seen[PROBES] == 1025 + PROBES


def test_without_addresses_there_is_no_port() -> None:
    assert take(LocalPool()) is None


def test_the_ports_of_one_protocol_are_free_for_another() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    assert take(pool, protocol=UDP) == (LIP1, 5000)
    assert take(pool) == (LIP1, 5000)
    assert take(pool, protocol=UDP) is None


def test_pools_that_share_an_address_go_on_where_each_left_off() -> None:
    low, high = LocalPool((LIP1,), 5000, 5999), LocalPool((LIP1,), 6000, 6999)
    taken: set[bytes] = set()
    for _ in range(3):
        for pool in (low, high):
            given = pool.take(TCP, REAL, None, taken)
            assert given is not None
            taken.add(given)
    assert sorted(split_key(each)[1][1] for each in taken) == [5000, 5001, 5002, 6000, 6001, 6002]


def test_the_ports_of_one_pool_do_not_count_against_anothers_range() -> None:
    many, few = LocalPool((LIP1,), 5000, 5999), LocalPool((LIP1,), 6000, 6001)
    for _ in range(10):
        take(many)
    assert take(few) == (LIP1, 6000)


def test_an_end_that_this_pool_has_not_given_counts_for_none() -> None:
    pool = LocalPool((LIP1,), 5000, 5000)
    pool.give_back(TCP, REAL, LIP1)
    assert take(pool) == (LIP1, 5000)
    assert take(pool) is None


def test_ports_begin_where_chance_says() -> None:
    pool = LocalPool((LIP1, LIP2), 5000, 5003)
    given = [pool.take(TCP, REAL, None, (), first=4 + 2) for _ in range(6)]
    ports = [split_key(each)[1][1] for each in given if each]
    assert ports == [5002, 5002, 5003, 5003, 5000, 5000]
