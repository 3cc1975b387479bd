"""A large configuration takes time in proportion to its length, whatever is large about it."""

from __future__ import annotations

from importlib.metadata import entry_points
from time import process_time
from typing import TYPE_CHECKING

import pytest

import schedulers
from lvsd.config.doubts import of_file
from lvsd.config.load import MAX_LISTED, check, load, located
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
    "many empty services": lambda n: "[[service]]\n" * n,
    "many unknown keys": lambda n: "".join(f"key{each} = 1\n" for each in range(n)),
    "services with an unknown key": lambda n: "".join(
        SERVICE.format(port) + "sheduler = 1\n" for port in range(1, n // 4 + 1)
    ),
    "services of an unknown scheduler": lambda n: "".join(
        SERVICE.format(port) + 'scheduler = "wrrr"\n' for port in range(1, n // 4 + 1)
    ),
    "a list of many flags": lambda n: SERVICE.format(1) + f"scheduler_flags = {['x'] * n}\n",
    "a list of many lists": lambda n: SERVICE.format(1) + f"scheduler_flags = {[[]] * n}\n",
    "many local addresses": lambda n: (
        SERVICE.format(1)
        + f"local_addresses = {[f'10.1.{each >> 8}.{each & 0xFF}' for each in range(n)]}\n"
    ),
    "a long unknown key": lambda n: "k" * 20 * n + " = 1\n",
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


@pytest.mark.parametrize(("scheduler", "times"), [("rr", 0), ("theirs", 1)])
def test_what_is_installed_is_looked_through_once_for_all_services_and_only_if_need_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, times: int
) -> None:
    asked = []

    def counted(**selection: str) -> object:
        asked.append(selection)
        return entry_points(**selection)

    monkeypatch.setattr("importlib.metadata.entry_points", counted)
    schedulers._registered.cache_clear()
    file = tmp_path / "lvsd.toml"
    file.write_text(_services(100).replace("\nname", f'\nscheduler = "{scheduler}"\nname'))
    assert len(check(file)[1]) == 20 * times
    assert len(asked) == times


@pytest.mark.parametrize(
    ("services", "more"),
    [(33, ""), (34, "and 2 more problems"), (5000, "and at least 1900 more problems")],
)
def test_of_many_problems_the_first_are_told_and_how_many_more_there_are(
    tmp_path: Path, services: int, more: str
) -> None:
    file = tmp_path / "lvsd.toml"
    file.write_text("[[service]]\nwieght = 1\n" * services)
    config, problems = check(file)
    assert config is None
    lines = [line for each in range(1, 2 * services, 2) for line in (each, each, each + 1)]
    told = lines[:MAX_LISTED]
    assert [problem.line for problem in problems] == told + [0] * bool(more)
    assert not more or str(problems[-1]) == f"{file}: {more}"


def test_of_many_warnings_the_first_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    file = tmp_path / "lvsd.toml"
    services = [f'[[service]]\nname = "{each}"\nfwmark = {each}\n' for each in range(1, 151)]
    file.write_text("".join(services))
    warnings = located(file, of_file(load(file)))
    assert [warning.line for warning in warnings] == [*range(1, 300, 3), 0]
    assert warnings[-1].as_warning == f"{file}: warning: and 50 more warnings"


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
