"""FULLNAT's local ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.core.connection import Connection
from lvsd.core.local_pool import PORTS, LocalPool, Turn, without
from lvsd.core.local_ports import PROBES, LocalPorts
from lvsd.packet.view import TCP, UDP, split_key

if TYPE_CHECKING:
    from collections.abc import Container

    from forwarders.base import End
    from lvsd.core.free_ports import FreePorts

REAL = (b"\x0a\0\0\x0b", 80)
OTHER = (b"\x0a\0\0\x0c", 80)
LIP1, LIP2 = b"\x0a\0\0\x02", b"\x0a\0\0\x03"


class Ports:
    """A director's local ports, and who has which."""

    def __init__(self, first: int = 0) -> None:
        self.by_key: dict[bytes, Connection] = {}
        self.all = LocalPorts(self.by_key.get, first)
        self.turn = Turn()
        self.given: dict[bytes, FreePorts] = {}

    def take(
        self,
        pool: LocalPool,
        real: End = REAL,
        owned: Container[bytes] | None = None,
        protocol: int = TCP,
    ) -> End | None:
        """Return the local endpoint of the key that is given, if any."""
        taken = self.all.take(pool, self.turn, protocol, real, owned)
        if taken is None:
            return None
        key, free = taken
        assert key not in self.given
        self.given[key] = free
        self.by_key[key] = Connection(key, key, None)  # type: ignore[arg-type]  # it opens no more
        assert split_key(key)[0] == real
        return split_key(key)[1]

    def give_back(self, port: int) -> None:
        """Give back what was given by this port."""
        (key,) = (key for key in self.given if split_key(key)[1][1] == port)
        del self.by_key[key]
        self.all.give_back(self.given.pop(key), port)


def test_local_addresses_take_turns_and_so_do_the_ports_of_each() -> None:
    ports, pool = Ports(), LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [ports.take(pool) for _ in range(5)]
    assert taken == [(LIP1, 5000), (LIP2, 5000), (LIP1, 5001), (LIP2, 5001), None]


def test_an_address_that_is_not_the_hosts_is_not_given() -> None:
    ports, pool = Ports(), LocalPool((LIP1, LIP2), 5000, 5001)
    taken = [ports.take(pool, owned={LIP2}) for _ in range(3)]
    assert taken == [(LIP2, 5000), (LIP2, 5001), None]


def test_a_port_that_is_taken_towards_one_server_is_free_towards_another() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5000)
    assert ports.take(pool) == (LIP1, 5000)
    assert ports.take(pool) is None
    assert ports.take(pool, OTHER) == (LIP1, 5000)


def test_a_port_that_was_given_back_is_given_again_after_all_others() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5003)
    for _ in range(3):
        ports.take(pool)
    ports.give_back(5001)
    ports.give_back(5000)
    taken = [ports.take(pool) for _ in range(4)]
    assert taken == [(LIP1, 5003), (LIP1, 5001), (LIP1, 5000), None]


def test_the_last_free_ports_of_an_address_are_found() -> None:
    ports, pool = Ports(), LocalPool((LIP1,))
    every = [ports.take(pool) for _ in range(*PORTS)]
    assert None not in every
    for port in range(30_000, 30_020):
        ports.give_back(port)
    taken = [ports.take(pool) for _ in range(22)]
    assert taken == [
        (LIP1, PORTS[1]),
        *((LIP1, port) for port in range(30_000, 30_020)),
        None,
    ]


def test_services_share_the_ports_of_an_address_towards_a_server() -> None:
    ports = Ports()
    one, two = LocalPool((LIP1,), 5000, 5003), LocalPool((LIP1,), 5000, 5003)
    taken = [ports.take(pool) for pool in (one, two, one, two, one, two)]
    assert taken == [*((LIP1, port) for port in range(5000, 5004)), None, None]
    ports.give_back(5002)
    assert ports.take(two) == (LIP1, 5002)


def test_ports_that_another_range_has_given_are_passed_over() -> None:
    ports = Ports()
    wide, narrow = LocalPool((LIP1,), 5000, 5009), LocalPool((LIP1,), 5000, 5004)
    taken = [ports.take(pool) for pool in (wide, wide, narrow, narrow, narrow, narrow)]
    assert taken == [*((LIP1, port) for port in range(5000, 5005)), None]
    assert [ports.take(wide) for _ in range(6)] == [
        *((LIP1, port) for port in range(5005, 5010)),
        None,
    ]


def test_however_many_another_range_has_given_a_later_try_finds_the_next() -> None:
    ports = Ports()
    wide, narrow = LocalPool((LIP1,), 5000, 7000), LocalPool((LIP1,), 5000, 6999)
    for _ in range(2 * PROBES):
        ports.take(wide)
    taken = [ports.take(narrow) for _ in range(10)]
    assert any(taken)


def test_a_list_of_which_nothing_is_given_is_forgotten_but_not_where_it_was() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5003)
    taken = []
    for _ in range(6):
        end = ports.take(pool)
        assert end is not None
        taken.append(end[1])
        ports.give_back(end[1])
        assert ports.all.free == {}
    assert taken == [5000, 5001, 5002, 5003, 5000, 5001]


def test_without_addresses_there_is_no_port() -> None:
    assert Ports().take(LocalPool()) is None


def test_the_ports_of_one_protocol_are_free_for_another() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5000)
    assert ports.take(pool, protocol=UDP) == (LIP1, 5000)
    assert ports.take(pool) == (LIP1, 5000)
    assert ports.take(pool, protocol=UDP) is None


def test_ports_begin_where_chance_says() -> None:
    ports, pool = Ports(first=4 + 2), LocalPool((LIP1, LIP2), 5000, 5003)
    taken = [ports.take(pool) for _ in range(6)]
    assert taken == [(each, port) for port in (5002, 5003, 5000) for each in (LIP1, LIP2)]


def test_what_the_host_keeps_is_not_given() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5005)
    ports.all.keep(((5001, 5002), (5005, 5100)))
    taken = [ports.take(pool) for _ in range(4)]
    assert taken == [(LIP1, 5000), (LIP1, 5003), (LIP1, 5004), None]


def test_where_the_host_keeps_all_there_is_none() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 5000, 5005)
    ports.all.keep(((4000, 6000),))
    assert ports.take(pool) is None
    assert ports.all.free == {}


def test_after_an_edit_other_ports_are_given_and_the_old_ones_taken_back() -> None:
    ports, pool = Ports(), LocalPool((LIP1,), 1000, 1001)
    assert [ports.take(pool) for _ in range(3)] == [(LIP1, 1000), (LIP1, 1001), None]
    pool = LocalPool((LIP1,), 2000, 2001)
    ports.give_back(1000)
    assert {ports.take(pool) for _ in range(3)} == {(LIP1, 2000), (LIP1, 2001), None}
    ports.give_back(1001)
    assert ports.take(pool) is None


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ((), ((10, 20),)),
        (((12, 13),), ((10, 11), (14, 20))),
        (((1, 10), (20, 30)), ((11, 19),)),
        (((15, 15), (12, 12)), ((10, 11), (13, 14), (16, 20))),
        (((21, 30), (1, 9)), ((10, 20),)),
        (((1, 30),), ()),
    ],
)
def test_ranges_are_taken_out_of_a_range(
    parts: tuple[tuple[int, int], ...], left: tuple[tuple[int, int], ...]
) -> None:
    assert without((10, 20), parts) == left
