"""The systemd unit of TOA: understood by systemd, and no more rights than it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.lab.wait import PATIENCE

UNIT = Path(__file__).parents[3] / "packaging" / "lvsd-realserver-toa.service"
INSTALLED = "/usr/bin/lvsd"
MAX_EXPOSURE = 2.5


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not there; install the package systemd",
)
def test_systemd_understands_every_line_and_calls_it_tight(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "lvsd"
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(command)))
    for words in (
        ["verify", "--man=no"],
        ["security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE * 10:.0f}"],
    ):
        done = subprocess.run(
            ["systemd-analyze", *words, copy],
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_it_has_the_rights_to_load_attach_and_find_programs_and_no_others() -> None:
    lines = UNIT.read_text().splitlines()
    assert "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_SYS_ADMIN" in lines
    assert "SystemCallFilter=@system-service bpf" in lines
