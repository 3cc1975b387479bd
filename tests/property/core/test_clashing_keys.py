"""Of all living connections that claim a key, the newest has it, in whatever order they end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from lvsd.core.connection import Connection
from lvsd.core.connection_table import ConnectionTable
from lvsd.core.shares import Share
from lvsd.core.states import tcp
from tests.property.examples import examples

NO_PATH = cast(
    "Any",
    SimpleNamespace(protocol=tcp(), server=SimpleNamespace(service=SimpleNamespace(share=Share()))),
)
KEYS = st.sampled_from((b"one", b"two", b"three"))


@examples(300)
@given(st.lists(st.tuples(KEYS, KEYS), max_size=20), st.randoms(use_true_random=False), st.data())
def test_the_newest_living_claimant_has_the_key(
    pairs: list[tuple[bytes, bytes]], random: Any, data: st.DataObject
) -> None:
    table = ConnectionTable(0.0)
    living: list[Connection] = []
    for key, reply_key in pairs:
        connection = Connection(key, reply_key, NO_PATH)
        table.add(connection)
        living.append(connection)
        _check(table, living)
        if data.draw(st.booleans()):
            _end(table, living, random)
    while living:
        _end(table, living, random)
    assert table._shadowed == {}
    assert table._wheel._buckets.get(1, set()) == set()


def _end(table: ConnectionTable, living: list[Connection], random: Any) -> None:
    connection = living.pop(random.randrange(len(living)))
    table.remove(connection)
    _check(table, living)


def _check(table: ConnectionTable, living: list[Connection]) -> None:
    """Compare the table with a dict filled from the oldest living connection to the newest."""
    expected = {key: each for each in living for key in (each.key, each.reply_key)}
    assert table.by_key == expected
    assert table.count == len(living)
