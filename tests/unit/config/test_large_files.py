"""A large configuration takes time in proportion to its length, whatever is large about it."""

from __future__ import annotations

from importlib.metadata import entry_points
from time import process_time
from typing import TYPE_CHECKING

import pytest

import schedulers
from lvsd.config.load import check
from lvsd.config.place import place
from lvsd.config.toml import MAX_WORDS
from tests.unit.config.test_load import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVICE = '[[service]]\nname = "s{0}"\naddress = "192.0.2.1:{0}"\nprotocol = "tcp"\n'
SERVER = '  [[service.server]]\n  address = "10.0.{0}.{1}:80"\n'


def _services(number: int) -> str:
    servers = "".join(SERVER.format(0, host) for host in range(1, 6))
    return "".join(SERVICE.format(port) + servers for port in range(1, number // 5 + 1))


def _servers(number: int) -> str:
    hosts = range(number)
    return SERVICE.format(1) + "".join(SERVER.format(n >> 8, n & 0xFF) for n in hosts)


LARGE: dict[str, Callable[[int], str]] = {
    "many services": _services,
    "many servers": _servers,
    "one server many times": lambda n: SERVICE.format(1) + SERVER.format(0, 1) * n,
    "a dotted key of many words": lambda n: "a" + ".a" * n + " = 1\n",
    "the same in an inline table": lambda n: "x = {a" + ".a" * n + " = 1}\n",
    "the same in quotes": lambda n: '"a"' + ' . "a"' * n + " = 1\n",
    "a header of many words": lambda n: "[a" + ".a" * n + "]\n",
    "many dotted keys": lambda n: "".join(f"daemon.key{each} = 1\n" for each in range(n)),
    "many headers": lambda n: "".join(f"[daemon.key{each}]\n" for each in range(n)),
}


def _times(work: Callable[[], object]) -> Iterator[float]:
    """Yield three times how long the processor works, so that chance may delay two of them."""
    for _ in range(3):
        began = process_time()
        work()
        yield max(process_time() - began, 0.005)


def _in_proportion(work: Callable[[Path], object], short: Path, long: Path) -> bool:
    """Tell whether work on a file that is four times as long takes less than eight times as long.

    The least times count: once a time is short enough, the least one is, too.
    """
    limit = 8 * min(_times(lambda: work(short)))
    return any(each < limit for each in _times(lambda: work(long)))


@pytest.mark.parametrize("large", LARGE)
def test_a_file_four_times_as_long_takes_no_more_than_some_four_times_as_long(
    tmp_path: Path, large: str
) -> None:
    short, long = tmp_path / "short.toml", tmp_path / "long.toml"
    short.write_text(LARGE[large](800))
    long.write_text(LARGE[large](3200))
    assert _in_proportion(check, short, long)
    assert _in_proportion(place, short, long)


def test_what_is_installed_is_looked_through_once_for_all_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(**selection: str) -> object:
        asked.append(selection)
        return entry_points(**selection)

    monkeypatch.setattr("schedulers.entry_points", counted)
    schedulers._registered.cache_clear()
    file = tmp_path / "lvsd.toml"
    file.write_text(_services(100).replace("\nname", '\nscheduler = "rr"\nname'))
    assert check(file)[1] == []
    assert len(asked) == 1


def _words(number: int) -> str:
    return ".".join(["a"] * number)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{_words(17)} = 1\n", 1),
        (f"\n[{_words(17)}]\n", 2),
        (f"\n\n[[ {_words(17)} ]]\n", 3),
        (f"a = {{ {_words(17)} = 1 }}\n", 1),
        (f"# {_words(30)}\n'''{_words(30)}''' = 1\n{_words(17)} = 1\n", 3),
    ],
)
def test_a_key_of_too_many_words_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    assert MAX_WORDS == 16
    problem = f"FILE:{line}: a key of 17 words, expected TOML of a few levels"
    assert refused(tmp_path / "lvsd.toml", text.encode()) == [problem]


@pytest.mark.parametrize(
    "text",
    [
        f"# {_words(30)} = 1\n",
        f'[[service]]\nname = "{_words(30)}"\naddress = "192.0.2.1:80"\nprotocol = "tcp"\n',
        f'[[service]]\nname = """{_words(30)}"""\naddress = "192.0.2.1:80"\nprotocol = "tcp"\n',
        "[daemon] # " + _words(40) + "\n",
    ],
)
def test_dots_in_comments_and_strings_are_no_keys(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lvsd.toml"
    file.write_text(text)
    assert check(file)[1] == []


def test_a_key_that_is_deep_but_not_too_deep_is_unknown_like_others(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path / "lvsd.toml", f"{_words(16)} = 1\n".encode())
    assert problem == "FILE:1: a: unknown, expected a table: daemon, sysctl, timeouts, service"
