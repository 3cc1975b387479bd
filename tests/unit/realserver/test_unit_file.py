"""The real server's systemd unit: understood by systemd, tight, and one for DR and TUN alike."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.lab.wait import PATIENCE

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "packaging" / "lvsd-realserver.service"
INSTALLED = "/usr/bin/lvsd"

MAX_EXPOSURE = 2.5
"""The most that `systemd-analyze security` may say, out of 10; under 3 it says OK."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not there; install the package systemd",
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit whose commands are there on this machine."""
    command = Path(sys.executable).parent / "lvsd"
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(command)))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
    )


@needs_systemd
def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_sandbox_is_tight_by_systemds_own_measure(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    exposure = re.search(r"Overall exposure level for [\w.-]+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= MAX_EXPOSURE


def test_it_stays_active_after_an_up_that_ends_and_stopping_it_is_down() -> None:
    lines = UNIT.read_text().splitlines()
    expected = [
        "Type=notify",
        "RemainAfterExit=yes",
        f"ExecStart={INSTALLED} realserver up $OPTIONS",
        f"ExecStop={INSTALLED} realserver down",
    ]
    assert [line for line in lines if line in expected] == expected
