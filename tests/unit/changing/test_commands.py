"""lvsd reload, diff and save: what they ask, what they say, and how they end."""

from __future__ import annotations

import json
import os
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from lvsd.assembly import wanted_of
from lvsd.changing import daemon
from lvsd.cli import main
from lvsd.config.differences import differences
from lvsd.config.load import load
from lvsd.control.client import DEFAULT_PATH
from lvsd.documents import tables, whole
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEB = """
[daemon]
control = "/run/elsewhere/control.sock"
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
[[service.server]]
address = "10.0.0.11:8080"
"""
GOOD = {
    "result": "changed",
    "good": True,
    "file": "/etc/lvsd/lvsd.toml",
    "changes": [{"text": "service web: added"}],
    "more_changes": 7,
    "problems": [],
    "refusal": "",
    "unfinished": "",
}


class Daemon:
    """Stands for a daemon that runs with a file, and for the way there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        monkeypatch.setattr(daemon, "ControlClient", self.connect)
        self.file = file
        file.write_text(WEB)
        self.config = load(file)
        self.answer: dict[str, Any] = dict(GOOD)
        self.refusal: Exception | None = None
        self.asked: list[Any] = []

    def connect(self, path: Path, _: float) -> Self:
        """Stand for a client's connection."""
        self.asked.append(str(path))
        if self.refusal is not None:
            raise self.refusal
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Answer."""
        self.asked.append((method, params))
        return self.answer

    def items(self, method: str) -> Iterator[dict[str, Any]]:
        """Tell what runs, in parts."""
        self.asked.append(method)
        wanted = wanted_of(self.config)
        yield tables(wanted, self.config)
        yield {"service": whole(wanted, self.config)["service"]}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Daemon:
    """Have a daemon."""
    monkeypatch.delenv("LVSD_CONTROL", raising=False)
    return Daemon(monkeypatch, tmp_path / "lvsd.toml")


def test_a_reload_says_what_changed(there: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reload"]) == os.EX_OK
    assert there.asked == [str(DEFAULT_PATH), ("reload", {})]
    assert capsys.readouterr().out.splitlines() == [
        "service web: added",
        "and 7 more",
        "/etc/lvsd/lvsd.toml: changed",
    ]


def test_a_configuration_says_where_the_daemon_listens_be_it_good_or_bad(there: Daemon) -> None:
    for text in (WEB, WEB.replace("tcp", "tpc")):
        there.file.write_text(text)
        assert main(["reload", "-c", str(there.file)]) == os.EX_OK
    asked = ["/run/elsewhere/control.sock", ("reload", {"file": str(there.file)})]
    assert there.asked == asked * 2
    assert main(["reload", "-c", str(there.file), "--control", "/run/x"]) == os.EX_OK
    assert there.asked[-2] == "/run/x"


@pytest.mark.parametrize("option", [[], ["--json"], ["--quiet"]])
@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ({}, os.EX_OK, ""),
        ({"problems": ["lvsd.toml:3: a: wrong"]}, os.EX_CONFIG, "lvsd.toml:3: a: wrong\n"),
        ({"unfinished": "no room"}, os.EX_OSERR, "lvsd: no room\n"),
        (
            {"refusal": "the engine ended"},
            os.EX_UNAVAILABLE,
            "lvsd: reload refused, nothing changed: the engine ended\n",
        ),
    ],
)
def test_the_exit_status_says_what_came_of_a_reload(
    there: Daemon,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
    status: int,
    error: str,
    option: list[str],
) -> None:
    there.answer |= answer
    assert main(["reload", *option]) == status
    said = capsys.readouterr()
    if option == ["--json"]:
        assert (json.loads(said.out), said.err) == (there.answer, "")
    elif option == ["--quiet"]:
        assert (said.out, said.err) == ("", "")
    else:
        assert said.err == error


@pytest.mark.parametrize("command", ["reload", "upgrade", "save"])
def test_a_file_that_is_not_there_is_said_before_anything_is_done(
    there: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    missing = tmp_path / "lvsd.tml"
    assert main([command, "-c", str(missing), "--control", "/x/control.sock"]) == os.EX_CONFIG
    said = f"{missing}: there is no such file, expected lvsd's own\n"
    assert capsys.readouterr() == ("", said)
    assert there.asked == []


@pytest.mark.parametrize("command", [["reload"], ["save"], ["diff", "-c", "FILE"]])
@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("lvsd is not running: nobody listens on /run/lvsd/control.sock; start it", 69),
        ("Permission denied (you must be root) to use /run/lvsd/control.sock", 77),
    ],
)
def test_without_a_daemon_or_the_right_to_ask_it_that_is_said(
    there: Daemon, capsys: pytest.CaptureFixture[str], command: list[str], why: str, status: int
) -> None:
    there.refusal = ControlError(why)
    words = [str(there.file) if word == "FILE" else word for word in command]
    assert main(words) == status
    assert capsys.readouterr().err == f"lvsd: {why}\n"


def test_a_daemon_of_another_version_is_said_to_be_one(
    there: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    there.refusal = ControlError("lvsd: no method 'reload'; there are: list, status")
    assert main(["reload"]) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err == (
        "lvsd: the lvsd that runs is of another version, and has to be restarted "
        "(lvsd: no method 'reload'; there are: list, status)\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["diff"],
        ["reload", "--quite"],
        ["reload", "--json", "--quiet"],
        ["reload", "FILE"],
        ["save", "-o"],
        ["diff", "-c"],
        ["-c", "FILE", "reload"],
    ],
)
def test_a_wrong_command_line_is_one_line(
    there: Daemon, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == os.EX_USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert there.asked == []


def test_a_diff_says_what_a_reload_would_change(
    there: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "-c", str(there.file)]) == os.EX_OK
    assert capsys.readouterr().out == ""
    there.file.write_text(WEB.replace("8080", "8081").replace('name = "web"', 'name = "www"'))
    assert main(["diff", "-c", str(there.file)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'service www: name: "web" -> "www"',
        "service www: server 10.0.0.11:8081: added",
        "service www: server 10.0.0.11:8080: removed",
    ]
    assert main(["diff", "--json", "-c", str(there.file)]) == 1
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [each["what"] for each in changes] == ["changed", "added", "removed"]


def test_services_of_one_name_are_told_apart_by_their_place() -> None:
    web, mark = (
        {"name": "web", **each}
        for each in (
            {"address": "192.0.2.10:80", "protocol": "tcp", "weight": 1},
            {"fwmark": 7, "family": 6},
        )
    )
    dns = {"name": "dns", "address": "192.0.2.10:53", "protocol": "udp"}
    before = {"service": [web, mark, dns]}
    after = {"service": [web | {"weight": 2}]}
    assert [each.text for each in differences(before, after)] == [
        "service web (tcp 192.0.2.10:80): weight: 1 -> 2",
        "service web (mark 7 IPv6): removed",
        "service dns: removed",
    ]


def test_a_diff_with_a_bad_file_says_every_error(
    there: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    there.file.write_text(WEB.replace("tcp", "tpc").replace(":8080", ""))
    assert main(["diff", "-c", str(there.file)]) == os.EX_CONFIG
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert there.asked == []


def test_what_is_saved_is_what_a_diff_finds_nothing_in(
    there: Daemon, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["save", "-o", str(tmp_path / "saved")]) == os.EX_OK
    assert main(["save"]) == os.EX_OK
    assert capsys.readouterr().out == (tmp_path / "saved").read_text()
    assert there.asked == [str(DEFAULT_PATH), "running"] * 2
    assert main(["diff", "-c", str(tmp_path / "saved")]) == os.EX_OK


@pytest.mark.parametrize("typed", ["/", "", "new/"])
def test_an_output_that_names_no_file_is_refused_as_what_was_typed(
    there: Daemon, capsys: pytest.CaptureFixture[str], tmp_path: Path, typed: str
) -> None:
    given = f"{tmp_path}/new/" if typed == "new/" else typed
    assert main(["save", "-c", str(there.file), "-o", given]) == os.EX_CANTCREAT
    assert capsys.readouterr().err.startswith(f"lvsd: {given or repr(given)}: cannot be written: ")
    assert [each.name for each in tmp_path.iterdir()] == [there.file.name]


def test_a_place_that_cannot_be_written_is_said(
    there: Daemon, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["save", "-c", str(there.file), "-o", str(tmp_path / "no" / "x")]) == 73
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


UPGRADED = {"before": "1.0", "after": "1.1", "pause_ms": 34.5, "connections": 12}


def test_an_upgrade_says_what_came_of_it(there: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    there.answer = dict(UPGRADED)
    assert main(["upgrade", "-c", str(there.file)]) == os.EX_OK
    assert there.asked == ["/run/elsewhere/control.sock", ("upgrade", {})]
    said = "lvsd 1.0 -> 1.1: 12 connections go on, packets waited for 34.5 ms\n"
    assert capsys.readouterr().out == said
    assert main(["upgrade", "--json"]) == os.EX_OK
    assert json.loads(capsys.readouterr().out) == UPGRADED
    assert main(["upgrade", "--quiet"]) == os.EX_OK
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        ("an upgrade is under way already: ask again", os.EX_UNAVAILABLE),
        ("lvsd: no method 'upgrade'; there are: list", os.EX_UNAVAILABLE),
        ("Permission denied (you must be root)", os.EX_NOPERM),
    ],
)
def test_an_upgrade_that_is_refused_says_why(
    there: Daemon, capsys: pytest.CaptureFixture[str], refusal: str, status: int
) -> None:
    there.refusal = ControlError(refusal)
    assert main(["upgrade"]) == status
    assert refusal in capsys.readouterr().err


def test_code_that_is_asked_whether_it_would_go_on_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(b"{}")))
    assert main(["upgrade", "--probe"]) == os.EX_OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["refusal"] == "what is handed over is not lvsd's"
