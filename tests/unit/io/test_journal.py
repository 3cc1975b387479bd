"""The journal as a file, and the question whether its writer lives."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.io import sysctls
from lvsd.io.journal import (
    AddressChange,
    Journal,
    LinkChange,
    SysctlChange,
    TableChange,
    journal_path,
    remove,
    this_namespace,
)
from lvsd.io.machine import Machine, cleanup, put_back
from lvsd.io.undo import Unfinished, undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.io.conftest import FullDisk

TTL = "net.ipv4.ip_default_ttl"


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(
        17,
        4711,
        this_namespace(),
        [SysctlChange("net.ipv4.ip_forward", "0", "1", {"net.ipv4.conf.lo.forwarding": "0"})],
        [AddressChange("eth0", "192.0.2.10")],
        [LinkChange("lvsd-ipip", "ipip")],
        [TableChange("lvsd_realserver")],
        {"mode": "tun"},
    )
    journal.write(tmp_path / "new" / "journal.json")
    assert Journal.read(tmp_path / "new" / "journal.json") == journal
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["journal.json"]


def test_without_a_file_there_is_no_journal(tmp_path: Path) -> None:
    assert Journal.read(tmp_path / "journal.json") is None
    assert Journal.read(tmp_path / "no" / "journal.json") is None


def with_tables(changes: str) -> str:
    return with_sysctls(f'[], "tables": {changes}')


def with_sysctls(changes: str) -> str:
    return f'{{"pid": 1, "started": 2, "namespace": "x", "addresses": [], "sysctls": {changes}}}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("[]", "it holds no JSON object"),
        ("{}", "it lacks 'pid'"),
        (
            (
                '{"pid": 1, "started": 2, "namespace": "x", "sysctls": [], "addresses": [],'
                ' "links": [{"name": "eth0", "kind": "veth"}]}'
            ),
            '"eth0" is no interface that lvsd makes; look into it',
        ),
        (with_tables('[{"name": "filter"}]'), '"filter" is no table that lvsd makes'),
        (with_tables('[{"name": "lvsd_x; flush ruleset"}]'), "is no table that lvsd makes"),
        (with_tables('[{"name": 7}]'), "expected string"),
        (with_sysctls("3"), "'int'"),
        (
            with_sysctls('[{"name": "//.//.tmp.x", "before": "1", "ours": "2"}]'),
            '"//.//.tmp.x" is no sysctl below net; look into it',
        ),
        (
            with_sysctls(
                '[{"name": "net.x", "before": "1", "ours": "2", "followers": {"net.//.x": "1"}}]'
            ),
            '"net.//.x" is no sysctl below net; look into it',
        ),
    ],
)
def test_an_unreadable_journal_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "journal.json"
    path.write_text(content)
    with pytest.raises(KernelError) as caught:
        Journal.read(path)
    assert str(caught.value).startswith(f"read the journal {path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("namespace", ["another-boot/{cookie}", "{boot}/4711000"])
def test_a_journal_of_another_boot_or_namespace_counts_for_nothing(
    tmp_path: Path, namespace: str
) -> None:
    boot, cookie = this_namespace().split("/")
    journal = Journal.of_this_process()
    journal.namespace = namespace.format(boot=boot, cookie=cookie)
    journal.write(tmp_path / "journal.json")
    assert Journal.read(tmp_path / "journal.json") is None


def written(directory: Path) -> Path:
    path = directory / "journal.json"
    Journal.of_this_process().write(path)
    return path


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_journal_that_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path)
    path.chmod(mode)
    with pytest.raises(KernelError, match="it can be written by others"):
        Journal.read(path)


def test_a_directory_that_others_can_write_is_no_place_for_a_journal(tmp_path: Path) -> None:
    path = written(tmp_path)
    tmp_path.chmod(0o1777)
    with pytest.raises(KernelError, match="its directory can be written by others"):
        Journal.read(path)
    with pytest.raises(KernelError, match="its directory can be written by others"):
        Journal.of_this_process().write(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away: run it as root")
def test_a_journal_that_is_somebody_elses_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path)
    os.chown(path, 65534, -1)
    with pytest.raises(KernelError, match="it belongs to uid 65534"):
        Journal.read(path)
    os.chown(tmp_path, 65534, -1)
    with pytest.raises(KernelError, match="its directory belongs to uid 65534"):
        Journal.of_this_process().write(path)


def test_a_symbolic_link_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    path = written(tmp_path)
    victim = path.rename(tmp_path / "victim")
    content = victim.read_bytes()
    path.symlink_to(victim)
    with pytest.raises(KernelError, match="it is a symbolic link"):
        Journal.read(path)
    path.with_suffix(".new").symlink_to(victim)
    Journal(1, 2, "x").write(path)
    assert (victim.read_bytes(), path.is_symlink()) == (content, False)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    os.mkfifo(path, 0o600)
    with pytest.raises(KernelError, match="it is no file"):
        Journal.read(path)


def test_a_directory_below_a_file_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "journal.json", tmp_path / "file" / "x" / "journal.json"):
        for act in (Journal.read, Journal.of_this_process().write):
            with pytest.raises(KernelError, match=r"name a directory for it \(daemon\.control"):
                act(place)


def test_a_directory_that_cannot_be_made_is_an_error_that_names_the_journal() -> None:
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
    assert not Journal(child.pid, started, "").writer_lives()
    child.wait()


def test_a_living_writer_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Machine(path)
    intrusions: dict[str, Callable[[Path], object]] = {
        "start in this network namespace": Machine,
        "clean up": cleanup,
        "put back what lvsd changed": put_back,
    }
    for operation, intrude in intrusions.items():
        why = f"{operation}: lvsd runs in this network namespace, pid {os.getpid()}; stop it first"
        with pytest.raises(KernelError, match=f"^{why}"):
            intrude(path)


def test_the_process_that_wrote_it_goes_on_with_it_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Machine(path, {"kept": "for whoever comes after"})
    before = path.stat()
    Machine(path, is_own=True)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    found = Journal.read(path)
    assert found is not None
    assert found.settings == {"kept": "for whoever comes after"}


def test_without_descriptors_no_other_place_is_taken_for_the_journals(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            journal_path(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_on_a_full_disk_the_journal_stays_as_it_was(tmp_path: Path, full_disk: FullDisk) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with full_disk(), pytest.raises(KernelError, match="File too large"):
        Journal.of_this_process().write(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_directory_that_others_can_write_is_to_be_mended_or_another_one_named(
    tmp_path: Path, *, with_journal: bool
) -> None:
    path = written(tmp_path) if with_journal else tmp_path / "journal.json"
    tmp_path.chmod(0o777)
    for act in (Journal.read, Journal.of_this_process().write):
        with pytest.raises(KernelError) as caught:
            act(path)
        assert caught.value.remedy == (
            f"`chown root {tmp_path}` and `chmod go-w {tmp_path}`, "
            "or name another one (daemon.control; of a real server, --state)"
        )


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Return a function that makes the directory a read-only file system, in this process alone."""
    if os.geteuid() != 0:
        pytest.skip("mounts: run it as root")

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, tmp_path], check=True)

    mount("-t", "tmpfs", "-o", "mode=755", "lvsd-test")
    try:
        yield lambda: mount("-o", "remount,ro")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_no_journal_needs_no_removal_where_nothing_can_be_written(
    tmp_path: Path, read_only: Callable[[], None]
) -> None:
    read_only()
    remove(tmp_path / "journal.json")


def test_a_journal_that_cannot_be_removed_is_said_once_everything_is_put_back(
    tmp_path: Path, read_only: Callable[[], None]
) -> None:
    machine = Machine(tmp_path / "journal.json")
    read_only()
    (line,) = machine.restore()
    assert isinstance(line, Unfinished)
    assert line.startswith(
        f"the journal stays as it was: remove the journal {tmp_path}/journal.json: "
        "Read-only file system; name a directory that can be written"
    )
    assert machine.is_as_it_was


def test_what_cannot_be_put_back_is_told_from_what_was(tmp_path: Path) -> None:
    journal = Journal.of_this_process()
    journal.sysctls.append(SysctlChange(TTL, "never", sysctls.read(TTL)))
    (line,), kept = undo(journal, tmp_path / "journal.json")
    assert isinstance(line, Unfinished)
    assert line.startswith("net.ipv4.ip_default_ttl stays ")
    assert kept.sysctls == journal.sysctls
