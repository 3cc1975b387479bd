"""The emulated machine comes up whatever the host looks like, and says in one line why not."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel import judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCRIPTS = judge.RUN.parent
BUSYBOX = "/.stock-kernel/busybox"

NO_STATUS = 125
"""`run`'s exit status when the machine did not come up."""

# The host's files, in a mount namespace of ours, with absolute links where Debian with kmod has one
# and where an administrator may have put one.
OTHER_HOST = """
set -e
mount --make-rprivate /
cd "$1"; shift
mkdir upper work
ln -s /bin/kmod-of-the-host upper/modprobe
mount -t overlay -o lowerdir=/usr/sbin,upperdir=upper,workdir=work overlay /usr/sbin
cd "$OLDPWD"
exec "$@"
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Return a folder with the machine's scripts, to be changed."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("init", "guest"):
        shutil.copy(SCRIPTS / name, folder / name)
    return folder


def run(
    results: Path, command: str, *options: str | Path, around: Sequence[str | Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a shell's line in the emulated machine."""
    own = [judge.RUN, "--results", results, *options, "--", "sh", "-c", command]
    return subprocess.run([*around, *own], capture_output=True, text=True, check=False)


def broken(script: Path, line: str, instead: str) -> None:
    """Put another line in the place of the one that begins so."""
    lines = script.read_text("utf-8").splitlines()
    [number] = [number for number, each in enumerate(lines) if each.startswith(line)]
    lines[number] = instead
    script.write_text("\n".join(lines) + "\n", "utf-8")


def test_the_kernel_loads_modules_on_a_host_whose_modprobe_is_an_absolute_link(
    tmp_path: Path,
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    other: list[str | Path] = ["unshare", "--mount", "sh", "-c", OTHER_HOST, "sh", host]

    done = run(
        tmp_path / "results",
        "readlink /usr/sbin/modprobe; ip link add test type dummy && ls -d /sys/module/dummy",
        around=other,
    )

    assert (done.returncode, done.stdout.split()) == (
        0,
        ["/bin/kmod-of-the-host", "/sys/module/dummy"],
    ), done.stderr


@pytest.mark.parametrize(
    ("script", "line", "instead", "why"),
    [
        (
            "init",
            "must $busybox mount -t virtiofs",
            "must $busybox mount -t virtiofs nonesuch /host",
            "stock kernel: init: /early/busybox mount -t virtiofs nonesuch /host: mount: ",
        ),
        (
            "guest",
            "must $busybox hostname",
            f"must {BUSYBOX} false",
            f"stock kernel: guest: {BUSYBOX} false: status 1 (see ",
        ),
        ("guest", "read -r release", "exit 3", "stock kernel: Kernel panic - not syncing: Att"),
    ],
    ids=["init-gives-up", "guest-gives-up", "panic"],
)
def test_a_machine_that_does_not_come_up_says_why_in_one_line(
    tmp_path: Path, scripts: Path, script: str, line: str, instead: str, why: str
) -> None:
    broken(scripts / script, line, instead)

    done = run(tmp_path / "results", "true", "--scripts", scripts)

    assert done.returncode == NO_STATUS
    [said] = done.stderr.splitlines()
    assert said.startswith(why)


def test_a_machine_that_hangs_is_not_waited_for(tmp_path: Path, scripts: Path) -> None:
    broken(scripts / "init", "must $busybox mkdir -p /proc", "$busybox sleep 100000")

    done = run(tmp_path / "results", "true", "--scripts", scripts, "--boot-timeout", "5")

    assert done.returncode == NO_STATUS
    [said] = done.stderr.splitlines()
    assert said.startswith("stock kernel: it did not come up within 5 s: ")


def test_what_a_question_was_not_answered_for_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead = tmp_path / "run"
    instead.write_text("#!/bin/sh\necho much >&2\necho stock kernel: it is broken >&2\nexit 125\n")
    instead.chmod(0o755)
    monkeypatch.setattr(judge, "RUN", instead)

    with pytest.raises(judge.NotAskedError) as caught:
        judge.ask([])

    assert str(caught.value) == (
        f"kernel IPVS was not asked: stock kernel: it is broken (more in {judge.FAILED})"
    )
