"""The command lines of the lab and the demo, as far as they build nothing."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from lvsd.errors import KernelError, PrivilegeError, UsageError
from lvsd.lab import cli, demo, shell
from lvsd.lab.director import Daemon

if TYPE_CHECKING:
    from pathlib import Path


REMOVED = "the lab is removed"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--mode", "dr", "--far-mtu", "1400"], "--far-mtu: a lab of dr has no far network"),
        (["--scheduler", "nonesuch"], "no scheduler 'nonesuch'; there are: rr, wrr"),
        (["--servers", "0"], "1 to 200 real servers, not 0"),
        (["--servers", "three"], "invalid int value: 'three'"),
        (["--mtu", "9"], "1280 to 65535 bytes, not 9"),
        (["--for", "-1"], "-1 is not 0 to 604800 seconds"),
        (["--for", "x"], "argument --for: 'x' is no number of seconds"),
        (["--mode", "magic"], "invalid choice: 'magic'"),
        (["--shell", "--", "ls"], "--shell has shells of its own"),
        (["--"], "a command belongs after --"),
        (["ls"], "unrecognized arguments: ls"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_built(
    argv: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        cli.main(argv)


@pytest.mark.parametrize(
    ("words", "ways"),
    [
        ([], ("nat", "nat", "nat")),
        (["--mode", "dr", "--servers", "2"], ("dr", "dr")),
        (["--mode", "mixed"], ("nat", "dr", "tun", "fullnat")),
    ],
)
def test_the_mode_is_that_of_every_server(words: list[str], ways: tuple[str, ...]) -> None:
    assert cli.parse(words).ways == ways


def test_without_tmux_the_shell_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(KernelError) as caught:
        shell.check()

    assert str(caught.value) == ("start tmux: it is not installed; on Debian: apt-get install tmux")


@pytest.mark.parametrize(
    ("status", "log", "said"),
    [
        (
            0,
            '{"event": "stopping"}\n{"event": "stopped", "connections": 3}\n',
            f"was stopped (status 0); {REMOVED}; with --shell a lab stays when its lvsd ends",
        ),
        (
            70,
            '{"event": "serving"}\n{"event": "the engine ended", "error": "no memory", "a": "b"}\n',
            f"ended with status 70; {REMOVED}; it said last: the engine ended: no memory",
        ),
        (-9, "", f"ended with status -9; {REMOVED}; it said last: nothing"),
        (
            1,
            "Traceback\nno module\n",
            f"ended with status 1; {REMOVED}; it said last: no module",
        ),
    ],
)
def test_a_lab_whose_daemon_has_ended_says_in_one_line_how(
    status: int, log: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "lvsd.log"
    file.write_text(log)
    ended = Mock(returncode=status)
    ended.poll.return_value = status
    daemon = Daemon("lvsd", ended, Mock(), file, tmp_path / "lvsd.sock", tmp_path / "lvsd.toml")

    with pytest.raises(cli.LvsdEndedError) as caught:
        cli._stay(daemon, 60.0)

    assert str(caught.value) == f"the lab's lvsd {said}"
    assert caught.value.exit_status == os.EX_OSERR


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--quick"], "unrecognized arguments: --quick; see 'lvsd demo --help'"),
        (["--mode", "mixed"], "invalid choice: 'mixed'"),
    ],
)
def test_the_demo_refuses_what_it_does_not_know(argv: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        demo.main(argv)


@pytest.mark.parametrize("main", [cli.main, demo.main])
def test_without_root_the_remedy_is_said(main: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(PrivilegeError, match="namespaces need root; run it as root"):
        main([])  # type: ignore[operator]  # one of two functions


@pytest.mark.parametrize("place", ["/srv/a b", "/srv/" + "x" * 44, "/srv/a;b"])
def test_a_place_that_the_labs_files_cannot_be_in_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(tempfile, "tempdir", place)

    with pytest.raises(KernelError, match="set TMPDIR to a plain folder, such as /tmp"):
        cli.main([])


def test_removal_needs_root_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(PrivilegeError, match="remove labs"):
        cli.main(["--remove"])
