"""The machine that systemd runs for these tests: what is done there stays there."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netns.service.manager import Manager

FOLDERS = ("etc", "opt", "root", "tmp", "usr/bin", "var/lib", "var/log", "var/tmp")


def test_no_file_of_the_host_can_be_changed_there(systemd: Manager) -> None:
    mark = f"lvsd-test-{uuid.uuid4()}"
    for folder in FOLDERS:
        assert systemd.run("touch", f"/{folder}/{mark}").returncode == 0
    assert [folder for folder in FOLDERS if Path("/", folder, mark).exists()] == []


def test_what_lies_in_the_hosts_tmp_is_out_of_sight_there(systemd: Manager, tmp_path: Path) -> None:
    assert systemd.run("ls", str(tmp_path)).returncode != 0


def test_the_hosts_kernel_cannot_be_tuned_there(systemd: Manager) -> None:
    for name in ("fs/file-max", "kernel/core_pattern", "vm/swappiness"):
        assert systemd.run("test", "-w", f"/proc/sys/{name}").returncode != 0


def test_no_unit_of_the_host_runs_there(systemd: Manager) -> None:
    listed = systemd.systemctl("list-units", "--plain", "--no-legend", "--type=service").stdout
    assert {line.split()[0] for line in listed.splitlines()} <= {
        "lvsd.service",
        "lvsd-realserver.service",
        "lvsd-realserver-toa.service",
    }
