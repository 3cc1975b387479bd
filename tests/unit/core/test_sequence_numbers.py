"""FULLNAT's first sequence numbers."""

from __future__ import annotations

import pytest

from lvsd.core.local_pool import PORTS
from lvsd.core.sequence_numbers import GAP, TICKS_PER_S, Origin, SequenceNumbers
from lvsd.packet.view import TCP, key

REAL = (b"\x0a\0\0\x0b", 80)
OTHER = (b"\x0a\0\0\x0c", 80)
LIP1, LIP2 = b"\x0a\0\0\x02", b"\x0a\0\0\x03"
PAIR = key(TCP, *REAL, LIP1, 5000)


@pytest.mark.parametrize("last", [5, 2**31, 2**32 - 3])
def test_first_numbers_grow_for_a_pair_whatever_was_seen_of_it(last: int) -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    first = numbers.first(PAIR, 10.0)
    end = (first + last % 2**31) % 2**32
    numbers.seen(PAIR, end)
    second = numbers.first(PAIR, 10.0)
    assert (second - end) % 2**32 == GAP


def test_first_numbers_grow_with_time_alone() -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    first = numbers.first(PAIR, 10.0)
    assert (numbers.first(PAIR, 12.0) - first) % 2**32 == 2 * 250_000


def test_pairs_have_numbers_of_their_own_and_so_have_secrets() -> None:
    numbers, others = SequenceNumbers(Origin(b"secret")), SequenceNumbers(Origin(b"other"))
    firsts = {
        numbers.first(PAIR, 0.0),
        numbers.first(key(TCP, *REAL, LIP2, 1), 0.0),
        numbers.first(key(TCP, *OTHER, LIP1, 1), 0.0),
        others.first(PAIR, 0.0),
    }
    assert len(firsts) == 4


def test_an_end_that_lies_behind_changes_nothing() -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    first = numbers.first(PAIR, 10.0)
    numbers.seen(PAIR, (first - 1000) % 2**32)
    assert (numbers.first(PAIR, 10.0) - first) % 2**32 == GAP


@pytest.mark.parametrize("rate", [10, 1000, 100_000])
def test_a_port_that_comes_again_after_all_others_begins_above_its_old_numbers(rate: int) -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    numbers.seen(PAIR, (numbers.first(PAIR, 0.0) + 10**9) % 2**32)
    cycle = PORTS[1] - PORTS[0] + 1
    firsts = [numbers.first(PAIR, number / rate) for number in range(cycle + 1000)]
    later = zip(firsts, firsts[cycle:], strict=False)
    assert all(0 < (again - first) % 2**32 < 2**31 for first, again in later)


@pytest.mark.parametrize("clock", [0.0, 777.5])
def test_after_a_restart_numbers_are_ahead_of_the_last_ones(clock: float) -> None:
    """Whatever the new director's own clock says: that may begin anew with the machine."""
    before = SequenceNumbers(Origin(b"secret", wall_s=1_800_000_000.0))
    last = before.first(PAIR, 5000.0)
    after = SequenceNumbers(Origin(b"secret", wall_s=1_800_005_001.0 - clock))
    assert (after.first(PAIR, clock) - last) % 2**32 == TICKS_PER_S
