"""The journal as a file, and the question whether its writer lives."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lvsd.errors import KernelError
from lvsd.io.journal import AddressChange, Journal, SysctlChange, journal_path
from lvsd.io.machine import Machine, cleanup


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(
        17,
        4711,
        [SysctlChange("net.ipv4.ip_forward", "0", "1", {"net.ipv4.conf.lo.forwarding": "0"})],
        [AddressChange("eth0", "192.0.2.10")],
    )
    journal.write(tmp_path / "new" / "journal.json")
    assert Journal.read(tmp_path / "new" / "journal.json") == journal
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["journal.json"]


def test_without_a_file_there_is_no_journal(tmp_path: Path) -> None:
    assert Journal.read(tmp_path / "journal.json") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1, "started": 2, "sysctls": 3}'])
def test_an_unreadable_journal_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(content)
    with pytest.raises(KernelError, match=str(path)):
        Journal.read(path)


def test_a_directory_that_cannot_be_written_is_an_error_that_names_the_journal() -> None:
    path = Path("/proc/lvsd/journal.json")
    with pytest.raises(KernelError, match=f"write the journal {path}"):
        Journal.of_this_process().write(path)


def test_this_process_lives_and_one_with_its_pid_but_another_start_does_not() -> None:
    journal = Journal.of_this_process()
    assert journal.writer_lives()
    journal.started += 1
    assert not journal.writer_lives()


def test_a_process_that_ended_but_was_not_waited_for_does_not_live() -> None:
    child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    started = int(Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").split()[21])
    assert not Journal(child.pid, started).writer_lives()
    child.wait()


def test_each_network_namespace_has_a_journal_of_its_own(tmp_path: Path) -> None:
    inode = Path("/proc/self/ns/net").stat().st_ino
    assert journal_path(tmp_path) == tmp_path / f"journal-{inode}.json"


def test_a_living_writer_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Machine(path)
    for intrude in (Machine, cleanup):
        with pytest.raises(KernelError, match=f"lvsd runs in it, pid {os.getpid()}"):
            intrude(path)
