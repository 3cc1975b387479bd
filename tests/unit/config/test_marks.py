"""Marks that do not show are refused in every text of a file, and shown as escapes.

A name with one of them would turn, hide or overwrite a part of the line that it is logged in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.config.faults import dotted, shown

if TYPE_CHECKING:
    from collections.abc import Callable

BIDIRECTIONAL = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What turns the direction of a text (UAX 9)."""

CONTROL = "\x07\x08\x1b\x7f\x9b\u200b\u2028\ufeff"

SERVICE = """
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
interface = "eth0"
"""
TEXTS = {
    "control": '[daemon]\ncontrol = "/run/{}/control.sock"\n',
    "name": SERVICE.replace("web", "w{}eb"),
    "interface": SERVICE.replace("eth0", "eth{}0"),
    "scheduler": SERVICE + 'scheduler = "w{}lc"\n',
    "address": SERVICE.replace("192", "192{}"),
    "key": SERVICE + '"we{}ight" = 1\n',
    "file": "\n[daemon]\nqueue {} 1\n",
}
"""A file for each place that a text can stand at."""


@pytest.mark.parametrize("mark", BIDIRECTIONAL + CONTROL, ids=lambda mark: f"U+{ord(mark):04X}")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_mark_that_does_not_show_is_refused_and_shows_in_the_message(
    problems: Callable[[str], list[str]], text: str, mark: str
) -> None:
    escape = mark if text == TEXTS["file"] else f"\\u{ord(mark):04x}"
    found = problems(text.replace("{}", escape))
    assert found
    assert [line for line in found if not line.isprintable()] == []


@pytest.mark.parametrize("mark", BIDIRECTIONAL + CONTROL, ids=lambda mark: f"U+{ord(mark):04X}")
def test_a_value_or_key_is_shown_with_an_escape_for_it(mark: str) -> None:
    for text in (shown(f"a{mark}b"), dotted((f"a{mark}b",))):
        assert text.isprintable()
        assert text.startswith('"a\\')


def test_other_scripts_are_left_as_they_are(problems: Callable[[str], list[str]]) -> None:
    assert problems(SERVICE.replace("web", "καφές").replace("eth0", "δίκτυ")) == []
