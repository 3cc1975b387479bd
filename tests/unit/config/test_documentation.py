"""docs/configuration.md says every key, its default, and errors that really come out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forwarders import FORWARDERS
from lvsd.config.check_tables import ServerCheck, ServiceCheck
from lvsd.config.load import check
from lvsd.config.model import Config, Daemon, Server, Service, Sysctl, Timeouts
from lvsd.config.shape import Table, fields_of, keys_of_tables

DOCUMENT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()

SECTIONS: list[tuple[str, type[Table]]] = [
    ("## `[daemon]`", Daemon),
    ("## `[sysctl]`", Sysctl),
    ("## `[timeouts]`", Timeouts),
    ("## `[[service]]`", Service),
    ("### `[service.check]`", ServiceCheck),
    ("### `[[service.server]]`", Server),
    ("### `[service.server.check]`", ServerCheck),
]


def rows(section: str) -> dict[str, str]:
    """Return the default that the section's table gives for each key."""
    text = re.split(r"\n##", DOCUMENT.partition(f"\n{section}")[2])[0]
    return dict(re.findall(r"^\| `(\w+)` \|[^|]+\| ([^|]+) \|", text, re.MULTILINE))


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("section", "table"), SECTIONS)
def test_every_key_has_a_row_and_every_row_a_key(section: str, table: type[Table]) -> None:
    assert list(rows(section)) == list(fields_of(table))


@pytest.mark.parametrize(("section", "table"), SECTIONS)
def test_the_defaults_are_the_models(section: str, table: type[Table]) -> None:
    documented = {
        key: default.strip("`")
        for key, default in rows(section).items()
        if re.fullmatch(r"`[^`\[]+`", default)
    }
    defaults = {key: fields_of(table)[key].default for key in documented}
    assert documented == {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in defaults.items()
    }


def test_all_tables_are_documented() -> None:
    assert list(keys_of_tables(Config)) == [
        "",
        *(re.sub(r"[^\w.]", "", section) for section, _ in SECTIONS),
    ]


def test_the_examples_are_good_and_the_bad_one_gives_the_errors_shown(tmp_path: Path) -> None:
    *good, bad = blocks("toml")
    file = tmp_path / "bad.toml"
    for example in good:
        file.write_text(example)
        assert check(file)[1] == []
    file.write_text(bad)
    _, problems = check(file)
    shown = "".join(f"{problem}\n" for problem in problems).replace(f"{tmp_path}/", "")
    assert shown == blocks("text")[0]


def test_there_is_an_example_of_every_mode() -> None:
    examples = re.split(r"\n##", DOCUMENT.partition("\n## Forwarding\n")[2])[0]
    assert set(re.findall(r'^ *forward = "(\w+)"', examples, re.MULTILINE)) == set(FORWARDERS)
