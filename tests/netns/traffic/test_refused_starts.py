"""A start that cannot be ends in one clear line, the right status, and no trace."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.io.origin import NAME
from lvsd.lab import Lab, programs
from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import both, running
from tests.netns.traffic.state import changes, state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from subprocess import CompletedProcess

NOBODY = 65534
PORT = 80


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Start from a director with one server behind it."""
    with Lab(name="lvsd-traffic", servers=1) as lab:
        programs.nginx(lab.servers[0], ports=[8080])
        yield lab


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give lvsd a runtime directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="lvsd-refused-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def attempt(
    lab: Lab,
    directory: Path,
    *,
    before: Sequence[str] = (),
    path: str | None = None,
    text: str | None = None,
    **daemon: object,
) -> CompletedProcess[str]:
    """Try to start lvsd; see to it that it leaves everything as it was."""
    settings = {"control": str(directory / "control.sock"), "log_level": "warning"} | daemon
    head = [f"{key} = {value!r}" for key, value in settings.items()]
    file = directory / "lvsd.toml"
    file.write_text("\n".join(["[daemon]", *head, text or both(lab, PORT, 8080)]), "utf-8")
    environment = os.environ | ({} if path is None else {"PATH": path})
    machine, files = state(lab.director), set(directory.iterdir())

    tried = lab.director.run(
        [*before, sys.executable, "-m", "lvsd", "-c", str(file)],
        check=False,
        env=environment,
        timeout=60 * PATIENCE,
    )

    assert changes(machine, state(lab.director)) == {}
    # The secret of sequence numbers is for whoever starts next, whether this one did or not.
    assert set(directory.iterdir()) - {directory / NAME} == files
    return tried


def in_place_of_nft(directory: Path, script: str) -> str:
    """Have a shell script run as nft; ``{nft}`` in it is the real one. Return the PATH."""
    programs = directory / "bin"
    programs.mkdir()
    nft = programs / "nft"
    nft.write_text(f"#!/bin/sh\n{script.replace('{nft}', shutil.which('nft') or '')}\n", "utf-8")
    nft.chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def assert_refused(tried: CompletedProcess[str], status: int, *words: str) -> None:
    """Want this exit status and one line, with these words in this order."""
    assert (tried.returncode, tried.stdout) == (status, "")
    assert re.fullmatch(r"lvsd: [^\n]*\n", tried.stderr)
    assert re.search(".*".join(map(re.escape, words)), tried.stderr)


def test_a_queue_that_another_lvsd_reads_is_named_with_its_reader(
    lab: Lab, directory: Path
) -> None:
    with running(lab, both(lab, PORT, 8080)) as site:
        tried = attempt(lab, directory)

        assert_refused(tried, os.EX_OSERR, "take NFQUEUE 0", "taken by", "lvsd", "another queue")
        assert site.visits("v4", PORT, 2) == ["server1"] * 2


def test_a_second_start_of_the_same_lvsd_names_the_first(lab: Lab, directory: Path) -> None:
    with running(lab, both(lab, PORT, 8080)) as site:
        tried = attempt(lab, directory, control=str(site.daemon.control))

        living = f"lvsd runs in this network namespace, pid {site.daemon.process.pid}"
        assert_refused(tried, os.EX_OSERR, living)
        assert site.visits("v4", PORT, 2) == ["server1"] * 2


def test_a_second_lvsd_with_a_queue_of_its_own_finds_the_table_taken(
    lab: Lab, directory: Path
) -> None:
    with running(lab, both(lab, PORT, 8080)) as site:
        tried = attempt(lab, directory, queue=1)

        assert_refused(tried, os.EX_OSERR, "nftables table inet lvsd", "there already")
        assert site.visits("v4", PORT, 2) == ["server1"] * 2


def test_a_table_of_that_name_that_is_not_from_lvsd_stays(lab: Lab, directory: Path) -> None:
    lab.director.run(["nft", 'add table inet lvsd { comment "the operator\'s"; }'])
    try:
        tried = attempt(lab, directory)
    finally:
        lab.director.run(["nft", "delete table inet lvsd"])

    assert_refused(tried, os.EX_OSERR, "nftables table inet lvsd", "there already", "lvsd cleanup")


def test_a_machine_without_nft_is_told_which_package_to_install(lab: Lab, directory: Path) -> None:
    tried = attempt(lab, directory, path="/nonexistent")

    assert_refused(tried, os.EX_OSERR, "nft", "install", "nftables")


@pytest.mark.parametrize(
    ("script", "is_killed"),
    [
        ('kill -TERM $PPID; exec {nft} "$@"', False),
        ('kill -INT $PPID; exec {nft} "$@"', False),
        ("kill -TERM 0", True),
        ("kill -INT 0; kill -KILL $$", True),
        ("(exec >&- 2>&-; sleep 0.2; kill -TERM $PPID) & kill -KILL $$", True),
    ],
    ids=["SIGTERM", "Ctrl-C", "SIGTERM to all", "Ctrl-C to all", "SIGTERM to one after another"],
)
def test_a_stop_during_the_start_is_heeded_there_and_is_no_error(
    lab: Lab, directory: Path, script: str, *, is_killed: bool
) -> None:
    path = in_place_of_nft(directory, script)

    tried = attempt(lab, directory, before=["setsid", "--wait"], path=path, log_level="info")

    assert (tried.returncode, tried.stdout) == (os.EX_OK, "")
    assert "stopping before it was ready" in tried.stderr
    assert not re.search(r"\bready\s", tried.stderr.replace("before it was ready", ""))
    assert is_killed or "put back" not in tried.stderr  # what comes after nft was never begun


def test_an_nft_that_somebody_kills_is_said_to_be_killed(lab: Lab, directory: Path) -> None:
    path = in_place_of_nft(directory, "kill -KILL $$")

    tried = attempt(lab, directory, path=path)

    assert_refused(tried, os.EX_OSERR, "nftables table inet lvsd", "nft was killed (Killed)")


@pytest.mark.parametrize(
    ("missing", "words"),
    [("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW")],
)
def test_a_missing_capability_is_named(lab: Lab, directory: Path, missing: str, words: str) -> None:
    drop = ["setpriv", f"--bounding-set=-{missing}", f"--inh-caps=-{missing}"]

    tried = attempt(lab, directory, before=drop)

    assert_refused(tried, os.EX_NOPERM, "run lvsd as root or with", words)


def test_sysctls_that_cannot_be_written_are_named(lab: Lab, directory: Path) -> None:
    script = 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"'

    tried = attempt(lab, directory, before=["unshare", "--mount", "sh", "-c", script, "sh"])

    words = "set sysctl net.ipv4.ip_forward = 1", "Read-only file system", "make /proc/sys writable"
    assert_refused(tried, os.EX_OSERR, *words)


@pytest.mark.parametrize("limit", [9, 14, 18, 24])
def test_too_few_descriptors_are_said_whatever_would_fail_first(
    lab: Lab, directory: Path, limit: int
) -> None:
    tried = attempt(lab, directory, before=["prlimit", f"--nofile={limit}"])

    assert_refused(tried, os.EX_OSERR, "Too many open files", "raise the limit of open files")


def test_an_ordinary_user_is_refused(lab: Lab, directory: Path) -> None:
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    probe = [*user, sys.executable, "-c", "import lvsd.cli"]
    if lab.director.run(probe, check=False).returncode:
        pytest.skip("an ordinary user may not read this checkout: put it where everybody may")

    tried = attempt(lab, directory, before=user)

    assert_refused(tried, os.EX_NOPERM, "not permitted", "run lvsd as root")


def test_a_control_socket_that_is_in_use_is_named(lab: Lab, directory: Path) -> None:
    path = directory / "taken.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()

        tried = attempt(lab, directory, control=str(path))

    assert_refused(tried, os.EX_OSERR, str(path), "another lvsd is listening")


def test_a_runtime_directory_that_cannot_be_made_is_named(lab: Lab, directory: Path) -> None:
    in_the_way = directory / "file"
    in_the_way.touch()

    tried = attempt(lab, directory, control=str(in_the_way / "control.sock"))

    assert_refused(tried, os.EX_OSERR, str(in_the_way))


def test_a_runtime_directory_that_others_can_write_is_named_with_what_mends_it(
    lab: Lab, directory: Path
) -> None:
    directory.chmod(0o777)

    tried = attempt(lab, directory)

    words = "its directory can be written by others", f"chmod go-w {directory}", "daemon.control"
    assert_refused(tried, os.EX_OSERR, *words)
    assert not (directory / NAME).exists()


def test_a_wrong_configuration_is_explained_line_by_line(lab: Lab, directory: Path) -> None:
    text = both(lab, PORT, 8080, scheduler="rx", protocol="tpc")

    tried = attempt(lab, directory, text=text)

    lines = tried.stderr.splitlines()
    assert (tried.returncode, tried.stdout) == (os.EX_CONFIG, "")
    assert len(lines) == 4  # two errors in each of two services
    assert [bool(re.match(r"[^:]*lvsd\.toml:\d+: service", line)) for line in lines] == [True] * 4


def test_the_check_of_a_file_needs_no_rights(lab: Lab, directory: Path) -> None:
    file = directory / "lvsd.toml"
    file.write_text(both(lab, PORT, 8080), "utf-8")
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    checked = lab.director.run([*drop, sys.executable, "-m", "lvsd", "-t", "-c", str(file)])

    assert checked.stdout.endswith("configuration is good: 2 services, 2 servers\n")
