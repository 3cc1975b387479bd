"""The systemd units: understood by systemd, and tight by systemd's own measure.

Their shape is checked here; what becomes of them under systemd itself in tests/netns/service.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.engine.priority import NICENESS
from lvsd.io.journal import journal_path
from lvsd.lab.wait import PATIENCE

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "lvsd.service"
UNITS = sorted((ROOT / "packaging").glob("*.service"))
INSTALLED = "/usr/bin/lvsd"

MAX_EXPOSURE = 2.5
"""The most that `systemd-analyze security` may say, out of 10; under 3 it says OK."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not there; install the package systemd",
)


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a unit whose commands are there on this machine."""
    original: Path = request.param
    command = Path(sys.executable).parent / "lvsd"
    copy = tmp_path / original.name
    copy.write_text(original.read_text().replace(INSTALLED, str(command)))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
    )


def settings(unit: Path = UNIT, section: str = "Service") -> dict[str, list[str]]:
    """Return the settings of a section, each with its values in order."""
    found: dict[str, list[str]] = {}
    lines = unit.read_text().partition(f"[{section}]\n")[2].partition("\n[")[0]
    for line in lines.splitlines():
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
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= MAX_EXPOSURE
    assert done.returncode == 0


def test_an_engine_may_be_as_little_nice_as_it_asks_for() -> None:
    service = settings()
    assert service["LimitNICE"] == [str(NICENESS)]
    assert service["SystemCallFilter"][-1] == "setpriority"


def test_only_two_capabilities_are_left() -> None:
    service = settings()
    assert service["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_NET_RAW"]
    assert service["AmbientCapabilities"] == [""]
    assert service["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("unit_file", UNITS, ids=lambda path: path.stem)
def test_errors_that_do_not_mend_themselves_are_not_tried_again(unit_file: Path) -> None:
    service = settings(unit_file)
    if "Restart" not in service:
        return
    assert service["Restart"] == ["on-failure"]
    final = set(service["RestartPreventExitStatus"][0].split())
    assert {"64", "77", "203", "226"} <= final
    # systemd's own refusals have no exit status that could prevent a restart.
    assert all(file.startswith("-") for file in service.get("EnvironmentFile", []))


@pytest.mark.parametrize("unit_file", UNITS, ids=lambda path: path.stem)
def test_a_repaired_service_can_be_started_ten_seconds_later_at_most(unit_file: Path) -> None:
    limit = settings(unit_file, "Unit").get("StartLimitIntervalSec", ["10"])
    assert int(limit[0]) <= 10


@pytest.mark.parametrize("unit_file", UNITS, ids=lambda path: path.stem)
def test_the_documentation_of_a_unit_is_a_page_of_ours(unit_file: Path) -> None:
    (pages,) = settings(unit_file, "Unit")["Documentation"]
    for page in pages.split():
        folder, _, name = page.rpartition("/")
        assert folder == "file:///usr/share/doc/lvsd"
        assert (ROOT / "docs" / name).is_file()


def test_the_daemon_is_started_once_and_checks_its_configuration_itself() -> None:
    service = settings()
    assert service["ExecStart"] == [f"{INSTALLED} -c /etc/lvsd/lvsd.toml"]
    assert "ExecStartPre" not in service
    assert "78" in service["RestartPreventExitStatus"][0].split()


CLEAN_UPS = {
    "lvsd": "ran cleanup --directory {}\n",
    "lvsd-realserver": "ran realserver down\n",
}
"""What clears up after a program that could not, by its unit."""


@pytest.mark.parametrize("unit_name", CLEAN_UPS)
@pytest.mark.parametrize(
    ("result", "left", "cleans_up"),
    [
        ("success", True, True),
        ("exit-code", True, True),
        ("timeout", True, True),
        ("success", False, False),
        ("exit-code", False, False),
        ("signal", True, False),
        ("core-dump", True, False),
        ("watchdog", True, False),
        ("oom-kill", True, False),
    ],
)
def test_what_is_left_is_cleared_up_unless_a_killed_daemons_rules_are_to_stay(
    tmp_path: Path, unit_name: str, result: str, *, left: bool, cleans_up: bool
) -> None:
    (command,) = settings(ROOT / "packaging" / f"{unit_name}.service")["ExecStopPost"]
    shell, option, script = command.split(" ", 2)
    witness = tmp_path / "lvsd"
    witness.write_text("#!/bin/sh\necho ran $*\n")
    witness.chmod(0o755)
    runtime = tmp_path / "run time"
    runtime.mkdir()
    if left:
        journal_path(runtime).touch()
    done = subprocess.run(
        [shell, option, script.strip("'").replace(INSTALLED, str(witness))],
        env={"SERVICE_RESULT": result, "RUNTIME_DIRECTORY": str(runtime)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * PATIENCE,
    )
    assert done.stdout == (CLEAN_UPS[unit_name].format(runtime) if cleans_up else "")
