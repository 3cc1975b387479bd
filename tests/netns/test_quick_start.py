"""lvsd that is started quickly for tests is as if it were started afresh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.lab import Lab
from lvsd.lab.wait import PATIENCE, until
from tests.netns.traffic.site import both, running

if TYPE_CHECKING:
    from collections.abc import Sequence

LVSD = [sys.executable, "-m", "lvsd"]
LVSADM = [sys.executable, "-m", "lvsd.control.lvsadm"]
END_S = 60.0 * PATIENCE

pytestmark = pytest.mark.skipif(
    os.environ.get("LVSD_TEST_FRESH_STARTS") == "1", reason="everything is started afresh"
)


def is_quick(process: subprocess.Popen[Any]) -> bool:
    """Whether a process was forked by one that had loaded lvsd: then it has that one's command."""
    return b"quick_start" in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def run(argv: Sequence[str | Path], **options: Any) -> tuple[int, str, str, bool]:
    """Return exit status, both streams, and whether it was started quickly."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    ) as process:
        quick = is_quick(process)
        out, err = process.communicate(timeout=END_S)
    return process.returncode, out.decode(), err.decode(), quick


@pytest.mark.parametrize(
    "argv",
    [
        [*LVSD, "--version"],
        [*LVSD, "-t", "-c", "/nonexistent"],
        [*LVSD, "cleanup", "--control", "relative", "--directory", "/nonexistent"],
        [*LVSD, "explain", "nothing of that kind"],
        [*LVSD, "doctor", "-c", "/nonexistent"],
        [*LVSD, "realserver", "status", "--state", "/nonexistent"],
        [*LVSD, "realserver", "up", "--mode", "dr", "--vip", "192.0.2.1", "--print"],
        [*LVSD, "realserver", "down", "--state", "/nonexistent"],
        [*LVSADM, "-Z", "--nothing-of-that-kind"],
        [*LVSADM, "--control", "/nonexistent", "-L"],
    ],
    ids=" ".join,
)
def test_a_command_says_and_returns_the_same_when_started_afresh(
    argv: list[str],
) -> None:
    quickly = run(argv)
    afresh = run([*argv[:1], "-s", *argv[1:]])  # with an option of Python
    assert (quickly[:3], quickly[3], afresh[3]) == (afresh[:3], True, False)


def test_a_program_runs_the_same_when_started_afresh() -> None:
    text = "import sys; print(__name__, sys.argv[1:], file=sys.stderr); sys.exit(7)"
    quickly = run([sys.executable, "-m", "tests.program", text, "a", "b"], cwd=Path.cwd())
    afresh = run([sys.executable, "-c", text, "a", "b"])
    assert quickly == (*afresh[:3], True)
    assert afresh == (7, "", "__main__ ['a', 'b']\n", False)


def test_what_is_inherited_and_what_is_asked_for_are_there() -> None:
    with Lab(name="lvsd-quick", servers=1) as lab, running(lab, both(lab, 80, 8080)) as site:
        process = site.daemon.process
        proc = Path(f"/proc/{process.pid}")
        assert is_quick(process)
        status = dict(
            line.split(":\t", 1) for line in (proc / "status").read_text("ascii").splitlines()
        )
        assert int(status["PPid"]) == os.getpid()
        assert os.getsid(process.pid) == process.pid  # the lab asks for it
        with lab.director.entered():
            assert (proc / "ns/net").readlink() == Path("/proc/thread-self/ns/net").readlink()
        assert (proc / "fd/0").readlink() == Path(os.devnull)
        assert {(proc / f"fd/{number}").readlink() for number in (1, 2)} == {site.daemon.log_file}
        assert (proc / "cwd").readlink() == Path.cwd()
        assert int(status["SigIgn"], 16) == _ignored_afresh()


def _ignored_afresh() -> int:
    code = "print(next(x for x in open('/proc/self/status') if x.startswith('SigIgn'))[7:])"
    return int(subprocess.check_output([sys.executable, "-c", code]), 16)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda it: it.name)
def test_the_way_it_ends_is_told_to_the_test(number: signal.Signals) -> None:
    with Lab(name="lvsd-quick", servers=1) as lab:
        process = lab.director.spawn([*LVSD, "lab", "--servers", "1"], stdout=subprocess.DEVNULL)
        assert is_quick(process)
        process.send_signal(number)
        assert process.wait(END_S) == -number


@pytest.mark.parametrize(
    "changed",
    [
        {"env": os.environ | {"LVSD_TEST_PATIENCE": "4"}},
        {"cwd": "/"},
        {"preexec_fn": lambda: None},
        {"umask": 0o077},
    ],
    ids=["environment", "folder", "function", "mask"],
)
def test_whoever_asks_for_something_unusual_gets_a_fresh_start(changed: dict[str, Any]) -> None:
    path = {"env": os.environ | {"PYTHONPATH": str(Path.cwd())}} if "cwd" in changed else {}
    *_, quick = run([*LVSD, "--version"], **(path | changed))
    assert not quick


def test_what_is_started_has_no_descriptor_but_the_streams() -> None:
    with Lab(name="lvsd-quick", servers=1) as lab:
        silent = lab.directory / "silent"
        os.mkfifo(silent)
        process = lab.director.spawn([*LVSD, "-t", "-c", silent])  # waits for whoever writes
        descriptors = Path(f"/proc/{process.pid}/fd")
        assert is_quick(process)
        assert until(lambda: sorted(each.name for each in descriptors.iterdir()) == ["0", "1", "2"])
        process.kill()
