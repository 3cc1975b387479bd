"""A start that is told to stop before the daemon is there ends as a stop does: in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from subprocess import Popen

ROOT = Path(__file__).parents[2]
PATIENCE_S = 40.0 * PATIENCE

SERVICE = """
[[service]]
name = "web"
address = "192.0.2.1:80"
protocol = "tcp"
scheduler = "{scheduler}"
"""
SLEEPER = """
import pathlib, time
pathlib.Path({told!r}).touch()
{work}
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Return the file that a plug-in makes once it is being imported."""
    return tmp_path / "told"


def begin(directory: Path, told: Path, work: str, *head: str) -> Popen[str]:
    """Start lvsd with a plug-in that does some ``work`` when it is imported, and wait for that."""
    metadata = directory / "lvs_slow-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lvs-slow\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[lvsd.schedulers]\nslow = lvs_slow:Slow\n")
    (directory / "lvs_slow.py").write_text(SLEEPER.format(told=str(told), work=work))
    file = directory / "lvsd.toml"
    file.write_text("\n".join(head) + SERVICE.format(scheduler="slow"))
    process = subprocess.Popen(
        [sys.executable, "-m", "lvsd", "-c", file],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)])},
        stderr=subprocess.PIPE,
        text=True,
    )
    latest = time.monotonic() + PATIENCE_S
    while not told.exists() and process.poll() is None:
        assert time.monotonic() < latest, "lvsd does not import the plug-in"
        time.sleep(0.01)
    return process


EARLY = """
import signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            signal.raise_signal({number})
sys.meta_path.insert(0, Finder())
from lvsd.entry import lvsd
sys.exit(lvsd())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *((["-c"], name) for name in ("lvsd.cli", "argparse", "structlog", "tomli", "lvsd.daemon")),
        *((["-t", "-c"], name) for name in ("lvsd.cli", "argparse")),
    ],
)
def test_a_signal_while_the_command_itself_is_loaded_is_as_good_as_a_later_one(
    tmp_path: Path, arguments: list[str], name: str, number: signal.Signals
) -> None:
    runs = arguments == ["-c"]
    said = "lvsd: stopping before it was ready\n" if runs else ""
    status = os.EX_OK if runs else {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 130}[number]
    file = tmp_path / "lvsd.toml"
    file.write_text(SERVICE.format(scheduler="wlc"))
    program = EARLY.format(name=name, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "work",
    [
        "time.sleep(600)",
        "while True: pass",
        "try:\n    time.sleep(600)\nexcept BaseException:\n    raise ValueError('hidden')",
    ],
    ids=["waits", "works", "hides the signal"],
)
def test_a_stop_while_modules_load_is_heeded_at_once_and_is_no_error(
    tmp_path: Path, told: Path, number: signal.Signals, work: str
) -> None:
    process = begin(tmp_path, told, work)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (os.EX_OK, "lvsd: stopping before it was ready\n")


def test_a_hangup_while_modules_load_is_not_the_end(tmp_path: Path, told: Path) -> None:
    go = tmp_path / "go"
    work = f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"
    process = begin(tmp_path, told, work)
    process.send_signal(signal.SIGHUP)
    go.touch()
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == os.EX_CONFIG
    assert "scheduler 'slow' of lvs-slow 1.0 cannot be imported" in said
