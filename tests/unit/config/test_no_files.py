"""A configuration is a regular file: whatever else has its name is refused, and at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[3]
PATIENCE_S = 40.0 * PATIENCE
"""Whoever waits for data waits for ever."""

KINDS = {
    "pipe": "it is a pipe, expected a regular file; write it into one",
    "socket": "it is a socket, expected a regular file; write it into one",
    "device": "it is a device, expected a regular file; write it into one",
    "directory": "it is a directory, expected a regular file",
}
COMMANDS = {
    "-c": (["-c"], 78),
    "-t": (["-t", "-c"], 78),
    "explain": (["explain", "--pcap", "/dev/null", "-c"], 78),
}


@pytest.fixture(params=sorted(KINDS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a path at which there is something else than a file, and what is said of it."""
    path = tmp_path / "lvsd.toml"
    with socket.socket(socket.AF_UNIX) as listener:
        match request.param:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                listener.bind(str(path))
            case "device":
                path = Path("/dev/ptmx")
            case _:
                path.mkdir()
        yield path, KINDS[request.param]


def lvsd(arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lvsd", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_refused_whoever_reads_it(path: tuple[Path, str], command: str) -> None:
    where, said = path
    arguments, status = COMMANDS[command]
    done = lvsd([*arguments, where])
    assert done.returncode == status
    assert f"{where}: {said}" in done.stdout + done.stderr


def test_a_clean_up_goes_on_by_the_default_where_there_is_no_file(
    path: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lvsd.cli import main  # noqa: PLC0415 - the others run in a process of their own

    asked: list[Path] = []

    def cleanup(control: Path) -> int:
        asked.append(control)
        return 0

    monkeypatch.setattr("lvsd.daemon.cleanup", cleanup)
    where, said = path
    assert main(["cleanup", "-c", str(where)]) == 0
    assert asked == [Path("/run/lvsd/control.sock")]
    assert capsys.readouterr().err.splitlines()[0] == f"{where}: {said}"


def test_a_file_that_stdin_is_redirected_from_is_one(tmp_path: Path) -> None:
    file = tmp_path / "lvsd.toml"
    file.write_text("[daemon]\n")
    with file.open() as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "lvsd", "-t", "-c", "/dev/stdin"],
            cwd=ROOT,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert (done.returncode, done.stderr) == (0, "")
