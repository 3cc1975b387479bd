"""A daemon that the machine gives nothing more to goes on, and puts everything back at its end."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.engine.work import TICK_S
from lvsd.errors import KernelError
from lvsd.lab import Lab, programs
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import Site, both
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT, RPORT = 80, 8080
FEW = 3
"""Fewer descriptors than anything needs: the standard streams."""
SOME = 9
"""Fewer than the daemon has open, but with the lowest ones of its reserve among them."""
LATE_S = 60.0 * PATIENCE


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Start from a director with one server behind it."""
    with Lab(name="lvsd-starved", servers=1) as lab:
        programs.nginx(lab.servers[0], ports=[RPORT])
        yield lab


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give lvsd a runtime directory of 64 KiB."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "lvsd-test", tmp_path], check=True
    )
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def start(lab: Lab, *head: str) -> Site:
    """Run lvsd with a VIP of its own."""
    lines = ["[daemon]", 'log_format = "json"', *head, both(lab, PORT, RPORT, interface="front")]
    return Site(lab, programs.lvsd(lab.director, "\n".join(lines)))


@contextmanager
def started(lab: Lab, *head: str) -> Iterator[Site]:
    """Run lvsd; want everything as it was after SIGTERM, and status 0."""
    before = state(lab.director)
    site = start(lab, *head)
    daemon = site.daemon
    try:
        yield site
        status = daemon.stop(LATE_S)
    finally:
        daemon.stop()
    assert (status, changes(before, state(lab.director))) == (0, {}), daemon.log
    assert list(daemon.control.parent.glob("journal-*")) == []


def limit(site: Site, what: int, value: int, *, hard: bool = False) -> None:
    """Lower a soft limit of the daemon, or the hard one with it."""
    pid = site.daemon.process.pid
    resource.prlimit(pid, what, (value, value if hard else resource.prlimit(pid, what)[1]))


def fill(directory: Path) -> None:
    """Leave no room on the disk that a directory is on."""
    with suppress(OSError), (directory / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


@pytest.mark.parametrize("hard", [False, True])
def test_without_descriptors_packets_go_on_and_each_fault_is_said_once(
    lab: Lab, *, hard: bool
) -> None:
    with started(lab) as site:
        limit(site, resource.RLIMIT_NOFILE, SOME if hard else FEW, hard=hard)
        assert until(lambda: "Too many open files" in site.daemon.log, LATE_S)
        assert site.visits("v4", PORT, 20) == ["server1"] * 20
        time.sleep(3 * TICK_S)  # the more often it fails, the more could be said
        said = [line for line in site.daemon.log.splitlines() if '"level": "error"' in line]
        assert sorted(map(event, said)) == sorted(set(map(event, said)))


def event(line: str) -> str:
    return str(json.loads(line)["event"])


def test_with_descriptors_again_it_says_so_and_all_works(lab: Lab) -> None:
    with started(lab) as site:
        _, hard = resource.prlimit(site.daemon.process.pid, resource.RLIMIT_NOFILE)
        limit(site, resource.RLIMIT_NOFILE, FEW)
        assert until(lambda: "Too many open files" in site.daemon.log, LATE_S)
        limit(site, resource.RLIMIT_NOFILE, hard)
        assert until(lambda: "a fault is over" in site.daemon.log, LATE_S)
        lab.director.ip(f"address del {lab.vip.v4} dev front")
        assert until(lambda: "somebody took it away" in site.daemon.log, LATE_S)
        assert site.visits("v4", PORT, 2) == ["server1"] * 2


def test_an_end_without_any_descriptor_leaves_the_journal_for_the_next_start(lab: Lab) -> None:
    before = state(lab.director)
    site = start(lab)
    limit(site, resource.RLIMIT_NOFILE, FEW, hard=True)
    status = site.daemon.stop(LATE_S)
    last = site.daemon.log.splitlines()[-1]
    assert (status, last.startswith("lvsd: stop lvsd: it could not")) == (os.EX_OSERR, True)
    assert changes(before, state(lab.director)) != {}
    site = start(lab)
    assert "cleaned up what a killed lvsd left" in site.daemon.log
    assert site.daemon.stop(LATE_S) == 0
    assert changes(before, state(lab.director)) == {}


def test_without_memory_it_goes_on_and_puts_everything_back(lab: Lab) -> None:
    with started(lab) as site:
        pages = int(Path(f"/proc/{site.daemon.process.pid}/statm").read_text("ascii").split()[0])
        limit(site, resource.RLIMIT_AS, pages * resource.getpagesize(), hard=True)
        with suppress(subprocess.CalledProcessError, AssertionError):
            for _ in range(10):
                site.visits("v4", PORT, 20)
        assert len(site.daemon.log.splitlines()) < 50
        assert site.daemon.process.poll() is None


def test_on_a_full_disk_everything_is_put_back(lab: Lab, small_disk: Path) -> None:
    with started(lab, f'control = "{small_disk}/control.sock"') as site:
        fill(small_disk)
        assert site.visits("v4", PORT, 2) == ["server1"] * 2
    assert "the journal stays as it was" in site.daemon.log


def test_a_start_on_a_full_disk_says_so_and_leaves_nothing(lab: Lab, small_disk: Path) -> None:
    before = state(lab.director)
    fill(small_disk)
    with pytest.raises(KernelError, match="No space left on device; make room on the disk"):
        start(lab, f'control = "{small_disk}/control.sock"')
    assert changes(before, state(lab.director)) == {}
