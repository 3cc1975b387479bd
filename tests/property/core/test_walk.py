"""A walk through a dict that changes between its steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvsd.core import walk as module
from lvsd.core.walk import walk
from tests.property.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(eq=False)
class Entry:
    """What the dict holds, with the very key that it came with."""

    key: bytes


class Table:
    """A dict whose removals are counted, two for each."""

    def __init__(self, number: int) -> None:
        self.found: dict[bytes, Entry] = {}
        self.removals = 0
        for each in range(number):
            self.add(each)

    def add(self, number: int) -> None:
        """Take in an entry, if there is none of its number."""
        key = number.to_bytes(4, "big")
        self.found.setdefault(key, Entry(key))

    def remove(self, number: int) -> None:
        """Remove the entry of a number, if there is one."""
        if self.found.pop(number.to_bytes(4, "big"), None):
            self.removals += 1

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        """Walk through it."""
        return walk(self.found, lambda: 2 * self.removals, lambda key, entry: key is entry.key)


changes = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.lists(st.integers(0, 90), max_size=30),
        st.lists(st.integers(0, 90), max_size=30),
    ),
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AT_ONCE", 7)
        yield


@given(changes)
@examples()
def test_what_stays_is_told_once_in_its_order_and_nothing_that_is_gone(
    steps: list[tuple[int, list[int], list[int]]],
) -> None:
    table = Table(60)
    stays = dict(table.found)
    walking = table.walk()
    told: list[Entry] = []

    def tell(number: int | None) -> None:
        for key, entry in islice(walking, number):
            assert table.found[key] is entry
            told.append(entry)

    for number, gone, new in steps:
        tell(number)
        for each in gone:
            table.remove(each)
        for each in new:
            table.add(each)
        stays = {key: entry for key, entry in stays.items() if table.found.get(key) is entry}
    tell(None)
    assert len(told) == len(set(told))
    staying = set(stays.values())
    assert [entry for entry in told if entry in staying] == list(stays.values())


def test_it_ends_however_many_come_meanwhile() -> None:
    table = Table(50)
    for number, _ in enumerate(table.walk()):
        table.add(1000 + number)
        table.remove(number)
    assert number < 2 * 50
