"""The timer wheel: never early, at most the rest of a second late, and cheap when idle."""

from __future__ import annotations

from dataclasses import dataclass

from lvsd.core.timers import Wheel

MANY = 1_000_000


@dataclass(eq=False)
class Entry:
    """Something that ends."""

    expires: float
    due: int = 0


def _wheel(*entries: Entry, now: float = 100.0) -> Wheel[Entry]:
    wheel: Wheel[Entry] = Wheel(now)
    for entry in entries:
        wheel.add(entry)
    return wheel


def test_an_entry_does_not_end_before_its_time() -> None:
    wheel = _wheel(Entry(110.5))
    assert wheel.expired(110.4, MANY) == ([], False)


def test_an_entry_ends_in_the_second_after_its_time() -> None:
    entry = Entry(110.5)
    assert _wheel(entry).expired(111.0, MANY) == ([entry], False)


def test_an_entry_ends_once() -> None:
    wheel = _wheel(Entry(110.5))
    wheel.expired(111.0, MANY)
    assert wheel.expired(200.0, MANY) == ([], False)


def test_an_entry_that_was_put_off_ends_at_its_new_time() -> None:
    entry = Entry(110.0)
    wheel = _wheel(entry)
    entry.expires = 150.0
    assert wheel.expired(149.0, MANY) == ([], False)
    assert wheel.expired(151.0, MANY) == ([entry], False)


def test_an_entry_that_was_hastened_ends_at_its_nearer_time() -> None:
    entry = Entry(1000.0)
    wheel = _wheel(entry)
    entry.expires = 105.0
    wheel.hasten(entry)
    assert wheel.expired(106.0, MANY) == ([entry], False)


def test_hastening_an_entry_that_was_put_off_leaves_it_where_it_is() -> None:
    entry = Entry(110.0)
    wheel = _wheel(entry)
    entry.expires = 150.0
    wheel.hasten(entry)
    assert entry.due == 111


def test_an_entry_that_was_removed_does_not_end() -> None:
    entry = Entry(110.0)
    wheel = _wheel(entry)
    wheel.remove(entry)
    assert wheel.expired(200.0, MANY) == ([], False)


def test_removing_what_is_not_there_does_nothing() -> None:
    entry = Entry(110.0)
    wheel = _wheel(entry)
    wheel.expired(111.0, MANY)
    wheel.remove(entry)
    assert wheel.expired(200.0, MANY) == ([], False)


def test_an_entry_whose_time_is_past_when_it_is_added_ends_in_the_next_second() -> None:
    entry = Entry(50.0)
    assert _wheel(entry).expired(101.0, MANY) == ([entry], False)


def test_a_clock_that_goes_back_ends_nothing() -> None:
    wheel = _wheel(Entry(110.0))
    assert wheel.expired(20.0, MANY) == ([], False)
    assert len(wheel.expired(111.0, MANY)[0]) == 1


def test_after_a_million_idle_seconds_only_the_buckets_in_use_are_looked_at() -> None:
    entry = Entry(110.0)
    wheel = _wheel(entry)
    assert wheel._due(MANY) == [111]
    assert wheel.expired(float(MANY), MANY) == ([entry], False)


def test_no_more_entries_are_looked_at_than_asked_for() -> None:
    wheel = _wheel(*(Entry(110.0) for _ in range(10)))
    first, more = wheel.expired(111.0, 4)
    assert (len(first), more) == (4, True)


def test_entries_left_for_later_end_at_the_next_calls() -> None:
    entries = [Entry(110.0 + index / 2) for index in range(10)]
    wheel = _wheel(*entries)
    ended = []
    more = True
    while more:
        some, more = wheel.expired(120.0, 3)
        ended += some
    assert sorted(entry.expires for entry in ended) == [entry.expires for entry in entries]


def test_an_entry_put_off_counts_as_looked_at() -> None:
    entries = [Entry(110.0) for _ in range(5)]
    wheel = _wheel(*entries)
    for entry in entries:
        entry.expires = 500.0
    assert wheel.expired(111.0, 4) == ([], True)
    assert wheel.expired(111.0, 4) == ([], False)


def test_an_entry_added_while_others_wait_ends_in_its_turn() -> None:
    wheel = _wheel(*(Entry(110.0) for _ in range(3)))
    wheel.expired(115.0, 1)
    late = Entry(112.0)
    wheel.add(late)
    assert late in wheel.expired(115.0, MANY)[0]


def test_an_empty_wheel_keeps_no_bucket() -> None:
    wheel = _wheel(*(Entry(110.0 + index) for index in range(20)))
    wheel.expired(1000.0, MANY)
    assert wheel._buckets == {}


def test_a_walk_yields_every_entry_those_first_that_are_due_first() -> None:
    entries = [Entry(float(expires)) for expires in (110, 105, 300)]
    assert list(_wheel(*entries).walk()) == [entries[1], entries[0], entries[2]]


def test_a_walk_leaves_out_what_ended_meanwhile_and_finds_what_moved_on() -> None:
    first, second, third = (Entry(105.0), Entry(110.0), Entry(110.0))
    wheel = _wheel(first, second, third)
    walk = wheel.walk()
    assert next(walk) is first
    second.expires = 500.0
    wheel.remove(third)
    wheel.expired(200.0, MANY)
    assert list(walk) == [second]
