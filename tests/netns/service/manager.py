"""systemd itself as PID 1 of a machine of its own, with lvsd installed as docs/install.md has it.

The machine sees the files of this one and cannot change any; its processes, cgroups and network are
its own (`inside`). It has two interfaces: ``front`` 203.0.113.1/24, ``back`` 10.0.0.1/24.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.lab.wait import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
CHECKOUT: Final = HERE.parents[2]
TIMEOUT_S: Final = 60.0 * PATIENCE
LOG: Final = "/run/messages"
"""What services write to stderr; there is no journald."""

DROP_IN: Final = f"""[Service]
StandardError=append:{LOG}
TimeoutStartSec={30 * PATIENCE:.0f}
TimeoutStopSec={15 * PATIENCE:.0f}
"""
"""All that the tests change of a unit: where its errors go, and how slow a machine may be."""

SYSTEMD: Final = (
    "/lib/systemd/systemd",
    "--system",
    "--unit=quiet.target",
    "--log-target=console",
    "--show-status=no",
)

UP: Final = {"running", "degraded"}


class Manager:
    """A running systemd. ``root`` is its file system, seen from here."""

    def __init__(self, init: int) -> None:
        self._init = init
        self.root = Path(f"/proc/{init}/root")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in systemd's machine, whatever its exit status."""
        return subprocess.run(
            ["nsenter", "--target", str(self._init), "--all", "--root", "--wd", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run systemctl."""
        return self.run("systemctl", *words)

    def start(self, unit: str) -> None:
        """Start a unit; fail with what it said when it does not."""
        assert self.systemctl("start", unit).returncode == 0, self.said()

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", unit, "--value", "--property", name).stdout.strip()

    def configure(self, text: str, file: str = "lvsd.toml") -> None:
        """Write a file in /etc/lvsd."""
        (self.root / "etc/lvsd" / file).write_text(text)

    def said(self) -> list[str]:
        """Return the lines that services wrote to stderr, systemd's marks of priority included."""
        try:
            return (self.root / LOG[1:]).read_text().splitlines()
        except FileNotFoundError:
            return []

    def forget(self) -> None:
        """Begin a new record of what services write."""
        (self.root / LOG[1:]).write_text("")

    def settled(self, unit: str, *states: str) -> str:
        """Return the state of a unit as soon as it is one of these. Fail when it is none."""
        assert until(lambda: self.shows(unit, "ActiveState") in states, TIMEOUT_S), (
            self.systemctl("status", "--no-pager", unit).stdout,
            self.said(),
        )
        return self.shows(unit, "ActiveState")


@contextmanager
def booted() -> Iterator[Manager]:
    """Boot systemd, and end it and all of its services."""
    with tempfile.TemporaryDirectory(prefix="lvsd-systemd-") as name:
        work = Path(name)
        (work / "mnt").mkdir()
        console = (work / "console").open("wb")
        with console:
            outer = subprocess.Popen(
                ["unshare", "--mount", str(HERE / "outside"), str(work), str(CHECKOUT), *SYSTEMD],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            yield _ready(outer, work)
        finally:
            outer.kill()
            outer.wait()
            _remove_cgroup(work)


def _ready(outer: subprocess.Popen[bytes], work: Path) -> Manager:
    """Return systemd as soon as it is up; its services' stderr goes to `LOG`."""
    managers = []

    def is_up() -> bool:
        assert outer.poll() is None, (work / "console").read_text()
        with suppress(OSError, ValueError):
            (init,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            manager = Manager(int(init))
            if manager.systemctl("is-system-running").stdout.strip() in UP:
                managers.append(manager)
        return bool(managers)

    assert until(is_up, TIMEOUT_S), (work / "console").read_text()
    (manager,) = managers
    for unit in ("lvsd", "lvsd-realserver", "lvsd-realserver-toa"):
        folder = manager.root / f"run/systemd/system/{unit}.service.d"
        folder.mkdir()
        (folder / "test.conf").write_text(DROP_IN)
    manager.systemctl("daemon-reload")
    return manager


def _remove_cgroup(work: Path) -> None:
    """Remove the cgroup that systemd had, and those that it made in it."""
    script = """
        mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1/mnt"
        for try in 1 2 3 4 5 6 7 8 9 10; do
            find "$1/mnt/$(cat "$1/cgroup")" -depth -type d -exec rmdir {} + 2>/dev/null && exit
            sleep 0.2
        done
    """
    if (work / "cgroup").exists():
        subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", str(work)],
            check=False,
            timeout=60 * PATIENCE,
        )
