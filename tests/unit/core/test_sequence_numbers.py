"""FULLNAT's first sequence numbers."""

from __future__ import annotations

import pytest

from lvsd.core.local_pool import PORTS
from lvsd.core.sequence_numbers import (
    GAP,
    IDLE,
    SWEEP_S,
    SWEPT_AT_ONCE,
    TICKS_PER_S,
    Origin,
    SequenceNumbers,
)
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


def swept(numbers: SequenceNumbers, now: float, looks: int = IDLE + 1) -> float:
    """Let so many looks at all pairs go by; return what time it is then."""
    for _ in range(looks):
        now += SWEEP_S
        while numbers.sweep(now):
            pass
    return now


def test_pairs_that_nobody_has_used_for_long_are_forgotten_however_many_there_are() -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    numbers.sweep(0.0)
    for number in range(3 * SWEPT_AT_ONCE):
        numbers.first(key(TCP, number.to_bytes(4, "big"), 80, LIP1, 5000), 10.0)
    now = swept(numbers, 10.0, IDLE - 1)
    last = numbers.first(PAIR, now)
    now = swept(numbers, now, 3)
    assert dict(numbers.last()) == {PAIR[1:-4]: last}
    assert 0 < (numbers.first(PAIR, now) - last) % 2**32 < 2**31
    swept(numbers, now)
    assert not numbers.has(PAIR[1:-4])


def test_a_pair_is_remembered_for_as_long_as_it_is_ahead_of_the_clock() -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    ahead_s = 1000
    end = (numbers.first(PAIR, 0.0) + ahead_s * TICKS_PER_S) % 2**32
    numbers.seen(PAIR, end)
    now = swept(numbers, 0.0, 10)
    assert now < ahead_s
    assert dict(numbers.last()) == {PAIR[1:-4]: end}
    swept(numbers, now, 10)
    assert not dict(numbers.last())


def test_a_connection_that_outlives_what_is_remembered_of_its_pair_leaves_its_end() -> None:
    numbers = SequenceNumbers(Origin(b"secret"))
    first = numbers.first(PAIR, 0.0)
    now = swept(numbers, 0.0, 10)
    assert not numbers.has(PAIR[1:-4])
    end = (first + 2 * int(now) * TICKS_PER_S) % 2**32
    numbers.seen(PAIR, end)
    assert (numbers.first(PAIR, now) - end) % 2**32 == GAP
