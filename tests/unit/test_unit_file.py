"""The systemd unit: understood by systemd, and tight by systemd's own measure.

The shape of the whole is checked here; that the sandbox lets everything through that the
daemon needs was measured under systemd itself (docs/configuration.md, "Under systemd").
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "lvsd.service"
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
    copy = tmp_path / "lvsd.service"
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(command)))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def settings() -> dict[str, list[str]]:
    """Return the settings of [Service], each with its values in order."""
    found: dict[str, list[str]] = {}
    section = UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@needs_systemd
def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_a_wrong_line_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    assert "NoNewPrivilege" in analyze("verify", "--man=no", str(unit)).stderr


@needs_systemd
def test_the_sandbox_is_tight_by_systemds_own_measure(unit: Path) -> None:
    threshold = f"--threshold={MAX_EXPOSURE * 10:.0f}"
    done = analyze("security", "--offline=true", "--no-pager", threshold, str(unit))
    exposure = re.search(r"Overall exposure level for lvsd.service: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= MAX_EXPOSURE
    assert done.returncode == 0


def test_only_two_capabilities_are_left() -> None:
    service = settings()
    assert service["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_NET_RAW"]
    assert service["AmbientCapabilities"] == [""]
    assert service["NoNewPrivileges"] == ["yes"]


def test_errors_that_do_not_mend_themselves_are_not_tried_again() -> None:
    service = settings()
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["64 77 78"]


def test_the_commands_are_the_installed_ones() -> None:
    service = settings()
    configuration = "-c /etc/lvsd/lvsd.toml"
    assert service["ExecStartPre"] == [f"{INSTALLED} -t {configuration}"]
    assert service["ExecStart"] == [f"{INSTALLED} {configuration}"]


@pytest.mark.parametrize(
    ("result", "cleans_up"),
    [
        ("success", True),
        ("exit-code", True),
        ("timeout", True),
        ("signal", False),
        ("core-dump", False),
        ("watchdog", False),
        ("oom-kill", False),
    ],
)
def test_a_killed_daemons_rules_stay_for_on_crash_to_decide(
    tmp_path: Path, result: str, *, cleans_up: bool
) -> None:
    (command,) = settings()["ExecStopPost"]
    shell, option, script = command.split(" ", 2)
    witness = tmp_path / "lvsd"
    witness.write_text("#!/bin/sh\necho ran $1\n")
    witness.chmod(0o755)
    done = subprocess.run(
        [shell, option, script.strip("'").replace(INSTALLED, str(witness))],
        env={"SERVICE_RESULT": result},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ("ran cleanup\n" if cleans_up else "")
