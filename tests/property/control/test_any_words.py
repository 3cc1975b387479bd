"""Whatever somebody types, lvsadm answers with a line and a status, and never with a traceback."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvsd.config.plugins import make_scheduler
from lvsd.control.grammar import COMMANDS, OPTIONS
from lvsd.core.balancer import Balancer
from tests.in_process import InProcess
from tests.property.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = {"control"}
LONG = st.sampled_from([f"--{each.name}" for each in (*COMMANDS, *OPTIONS) if each.name not in OWN])
LETTERS = st.sampled_from([f"-{each.letter}" for each in (*COMMANDS, *OPTIONS) if each.letter])
FIRST = st.sampled_from(["-A", "-E", "-D", "-C", "-a", "-e", "-d", "-Z", "-L", "-S", "-R", "--set"])
VALUES = st.sampled_from([
    *("192.0.2.10:80", "[2001:db8::10]:80", "192.0.2.10", "7", "0", "-1", "rr", "sh", "sh-port"),
    *("gue", "6080", "255.255.255.0", "64", "10.0.0.11", "2001:db8::11", "1-5", "toa", "="),
])  # fmt: skip
ANY = st.text(st.characters(exclude_characters="\0"), max_size=12)
WORDS = st.one_of(LONG, LETTERS, VALUES, VALUES, st.builds(str.__add__, LETTERS, VALUES), ANY)
LINES = st.builds(lambda first, rest: [first, *rest], FIRST, st.lists(WORDS, max_size=7))


@pytest.fixture(autouse=True, scope="module")
def _nobody_is_asked_for_names() -> Iterator[None]:
    def known(host: str) -> str:
        return socket.inet_ntoa(socket.inet_aton(host))

    with (
        mock.patch.object(socket, "gethostbyname", known),
        mock.patch.object(socket, "gethostbyaddr", side_effect=OSError),
    ):
        yield


@examples()
@given(st.lists(LINES, max_size=4), ANY)
def test_any_words_get_a_status_and_at_most_a_few_lines(lines: list[list[str]], text: str) -> None:
    director = InProcess(Balancer(make_scheduler))
    for line in lines:
        before = director.type(["-Sn"])
        answered = director.type(line, text)
        assert answered.status in {0, 1, 2, 255}
        assert bool(answered.errors) == bool(answered.status)
        assert len(answered.errors.splitlines()) <= 2
        if answered.status:
            assert director.type(["-Sn"]) == before


@examples()
@given(st.lists(LINES, max_size=8))
def test_lines_are_restored_all_or_none(lines: list[list[str]]) -> None:
    director = InProcess(Balancer(make_scheduler))
    director.type(["-A", "-f", "9"])
    before = director.type(["-Sn"])
    answered = director.type(["-R"], "".join(f"{' '.join(line)}\n" for line in lines))
    assert answered.status in {0, 2, 255}
    if answered.status:
        assert director.type(["-Sn"]) == before
