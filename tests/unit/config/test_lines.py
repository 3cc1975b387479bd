"""Every key of a TOML document is found on its line."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from lvsd.config.lines import Lines

if TYPE_CHECKING:
    from lvsd.config.faults import Key

DOCUMENT = """# a comment
top = 1

[daemon]            # the header
queue = 1
"quoted key" = 2
a.b.'c d' = 3
text = \"\"\"
[fake]
queue = 9
\"\"\"

[[service]]
name = "one"
flags = [  # a comment inside
  "x",

  "y",
]

  [[service.server]]
  address = "1"
  [[service.server]]
  address = "2"
    [service.server.extra]
    deep = true

[[service]]
name = "two"
server = [
  { address = "3", weight = 1 }, { address = "4" },
  { address = "5" },
]
"""

EXPECTED = {
    ("top",): 2,
    ("daemon",): 4,
    ("daemon", "queue"): 5,
    ("daemon", "quoted key"): 6,
    ("daemon", "a", "b", "c d"): 7,
    ("daemon", "text"): 8,
    ("service", 0): 13,
    ("service", 0, "flags"): 15,
    ("service", 0, "flags", 1): 18,
    ("service", 0, "server", 0): 21,
    ("service", 0, "server", 1, "address"): 24,
    ("service", 0, "server", 1, "extra"): 25,
    ("service", 0, "server", 1, "extra", "deep"): 26,
    ("service", 1): 28,
    ("service", 1, "server", 0, "weight"): 31,
    ("service", 1, "server", 1): 31,
    ("service", 1, "server", 2, "address"): 32,
}


def keys_of(value: object, key: Key = ()) -> list[Key]:
    """Return the keys of all values below a value."""
    children: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    below = [keys_of(child, (*key, word)) for word, child in children]
    return [(*key, word) for word, _ in children] + [key for keys in below for key in keys]


def test_keys_are_found_however_they_are_written() -> None:
    lines = Lines(DOCUMENT, EXPECTED)
    assert {key: lines.of(key) for key in EXPECTED} == EXPECTED


def test_every_key_that_tomllib_reads_has_a_line_of_its_own() -> None:
    keys = keys_of(tomllib.loads(DOCUMENT))
    lines = Lines(DOCUMENT, keys)
    assert [key for key in keys if key not in lines._lines] == []


def test_a_missing_key_is_where_its_table_begins() -> None:
    missing: list[Key] = [
        ("service", 0, "server", 1, "weight"),
        ("service", 1, "address"),
        ("nothing", "at", "all"),
    ]
    lines = Lines(DOCUMENT, missing)
    assert [lines.of(key) for key in missing] == [23, 28, 1]


def test_what_else_is_asked_for_does_not_move_a_key() -> None:
    for key, line in EXPECTED.items():
        assert Lines(DOCUMENT, [key]).of(key) == line


def test_a_table_opened_after_its_child_begins_at_its_own_header() -> None:
    lines = Lines("[a.b]\nx = 1\n[a]\ny = 2\n", [("a",), ("a", "b")])
    assert (lines.of(("a",)), lines.of(("a", "b"))) == (3, 1)
