"""The composition root, as far as it works without the kernel's consent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lvsd.daemon import cleanup
from lvsd.io import machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def nothing_else_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cleanup", lambda _: [])


@pytest.mark.usefixtures("nothing_else_left")
def test_a_clean_up_removes_the_socket_that_a_killed_daemon_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    cleanup(path)
    cleanup(path)
    said = capsys.readouterr().out.splitlines()
    assert said == [f"removed the control socket {path}", "nothing was left behind"]
    assert not path.exists()


@pytest.mark.usefixtures("nothing_else_left")
def test_a_clean_up_leaves_a_socket_that_somebody_listens_on_and_any_other_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    living, file = tmp_path / "control.sock", tmp_path / "file"
    file.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(living))
        listener.listen()
        for path in (living, file):
            cleanup(path)
            assert path.exists()
    assert capsys.readouterr().out == "nothing was left behind\n" * 2
