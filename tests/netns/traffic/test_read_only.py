"""A runtime directory that became read-only: what is put back is, and what stays is named."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io.state_file import state_path
from lvsd.lab import Lab, programs
from tests.netns.traffic.site import Site, both
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PORT, RPORT = 80, 8080


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Start from a director with one server behind it."""
    with Lab(name="lvsd-read-only", servers=1) as lab:
        programs.nginx(lab.servers[0], ports=[RPORT])
        yield lab


@pytest.fixture
def remount(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Put a file system on the directory, and return a function that makes it "ro" or "rw"."""

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, tmp_path], check=True)

    mount("-t", "tmpfs", "-o", "mode=755", "lvsd-test")
    try:
        yield lambda how: mount("-o", f"remount,{how}")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def start(lab: Lab, directory: Path) -> Site:
    """Run lvsd with a VIP of its own, and its files in the directory.

    It can keep no state there: while a file is mapped, nobody can make the file system read-only.
    """
    with lab.director.entered(), contextlib.suppress(OSError):
        state_path(directory).mkdir()
    lines = ["[daemon]", 'log_format = "json"', f'control = "{directory}/control.sock"']
    lines.append(both(lab, PORT, RPORT, interface="front"))
    return Site(lab, programs.lvsd(lab.director, "\n".join(lines)))


def test_a_stop_puts_everything_back_and_says_which_files_stay(
    lab: Lab, tmp_path: Path, remount: Callable[[str], None]
) -> None:
    before = state(lab.director)
    site = start(lab, tmp_path)
    remount("ro")
    assert site.visits("v4", PORT, 2) == ["server1"] * 2
    status = site.daemon.stop()
    assert (status, changes(before, state(lab.director))) == (os.EX_OK, {}), site.daemon.log
    assert "could not" not in site.daemon.log
    said = [json.loads(line) for line in site.daemon.log.splitlines() if "left behind" in line]
    assert {each["level"] for each in said} == {"warning"}
    assert all("Read-only file system" in each["what"] for each in said)
    assert {each["what"].split(":")[0] for each in said} == {
        "the journal stays as it was",
        f"the control socket {tmp_path}/control.sock",
    }


def test_after_a_kill_the_next_start_puts_everything_back_and_says_why_it_cannot_be(
    lab: Lab, tmp_path: Path, remount: Callable[[str], None]
) -> None:
    before = state(lab.director)
    site = start(lab, tmp_path)
    site.daemon.process.kill()
    site.daemon.process.wait()
    remount("ro")
    with pytest.raises(KernelError, match=r"write the journal .*: Read-only file system; name a "):
        start(lab, tmp_path)
    assert changes(before, state(lab.director)) == {}
    remount("rw")
    site = start(lab, tmp_path)
    assert site.visits("v4", PORT, 2) == ["server1"] * 2
    assert site.daemon.stop() == os.EX_OK
    assert changes(before, state(lab.director)) == {}


def test_a_start_names_the_directory_that_cannot_be_written_and_no_journal_that_is_none(
    lab: Lab, tmp_path: Path, remount: Callable[[str], None]
) -> None:
    before = state(lab.director)
    remount("ro")
    with pytest.raises(KernelError, match=r"write the journal .*: Read-only file system; name a "):
        start(lab, tmp_path)
    assert changes(before, state(lab.director)) == {}
