"""Timeouts of one service: with which protocols and modes they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Problems: TypeAlias = Callable[[str], list[str]]

SERVER = '[[service.server]]\naddress = "10.0.0.11:80"\n'
WORDS = {"tcp_timeout_s": "tcp", "udp_timeout_s": "udp", "udp_answered_timeout_s": "udp"}


def _service(protocol: str, keys: str) -> str:
    head = f'[[service]]\nname = "web"\naddress = "192.0.2.10:80"\nprotocol = "{protocol}"\n'
    return f"{head}{keys}\n{SERVER}"


@pytest.mark.parametrize(("word", "protocol"), WORDS.items())
def test_a_timeout_goes_with_its_protocol(problems: Problems, word: str, protocol: str) -> None:
    assert problems(_service(protocol, f"{word} = 5")) == []


@pytest.mark.parametrize("word", WORDS)
def test_a_timeout_goes_with_a_mark(problems: Problems, word: str) -> None:
    assert problems(f'[[service]]\nname = "web"\nfwmark = 7\n{word} = 5\n') == []


@pytest.mark.parametrize(("word", "wanted"), WORDS.items())
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_a_timeout_of_another_protocol_is_told(
    problems: Problems, word: str, wanted: str, protocol: str
) -> None:
    expected = (
        f'5: service.{word}: set with protocol "{protocol}", '
        f"expected only with {wanted} or a fwmark"
    )
    found = problems(_service(protocol, f"{word} = 5"))
    assert found == ([] if protocol == wanted else [expected])


def test_a_timeout_for_answers_that_do_not_pass_is_told(problems: Problems) -> None:
    (problem,) = problems(_service("udp", 'udp_answered_timeout_s = 5\nforward = "dr"'))
    assert problem == (
        "5: service.udp_answered_timeout_s: set, but no server is forwarded by nat or fullnat, "
        "expected only with one that is"
    )


@pytest.mark.parametrize("value", ["0", "2678401", '"5"', "1.5"])
def test_a_timeout_is_a_number_of_seconds(problems: Problems, value: str) -> None:
    (problem,) = problems(_service("udp", f"udp_timeout_s = {value}"))
    assert problem.startswith("5: service.udp_timeout_s: ")
