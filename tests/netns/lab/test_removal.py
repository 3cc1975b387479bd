"""Nothing is left of a lab, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.errors import KernelError
from lvsd.lab import Lab, cli, processes, registry
from lvsd.lab.wait import PATIENCE, until
from lvsd.net.namespaces import NETNS
from lvsd.signals import Terminated

pytestmark = pytest.mark.netns

# A process with a lab, in which one program ignores SIGTERM and one has left its parent. Who runs
# the tests may have SIGINT and SIGHUP ignored, as in the background or under nohup.
HOLDER = """
import pathlib, signal, sys, time
from lvsd.lab import Lab, registry
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
registry.REGISTRY = pathlib.Path(sys.argv[1])
with Lab(name="lvsd-held", servers=2) as lab:
    lab.client.spawn(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    lab.servers[0].run(["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 &"])
    print(lab.name, lab.directory, flush=True)
    time.sleep(300)
"""

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away from what other labs of this machine have left."""
    monkeypatch.setattr(registry, "REGISTRY", tmp_path)


def namespaces(name: str) -> list[str]:
    return sorted(path.name for path in NETNS.glob(f"{name}-*"))


def traces(name: str, directory: Path) -> list[object]:
    """Return everything that is left of a lab."""
    entry = registry.REGISTRY / f"{name}.json"
    return [*namespaces(name), *(path for path in (directory, entry) if path.exists())]


class Holder:
    """Another process that holds a lab."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, registry.REGISTRY],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        name, directory = self.process.stdout.readline().split()
        self.name, self.directory = name, Path(directory)
        self.inside = processes.inside(namespaces(name))

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60 * PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def gone(pids: list[int]) -> bool:
    """Whether the processes have ended and were reaped, by init if need be."""
    return until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_lab_that_ends_leaves_nothing() -> None:
    with Lab(name="lvsd-test", servers=2) as lab:
        name, directory = lab.name, lab.directory
        process = lab.client.spawn(["sleep", "300"])
        assert len(namespaces(name)) == 5

    assert traces(name, directory) == []
    assert process.returncode == -signal.SIGTERM


def test_an_exception_inside_passes_and_the_lab_goes() -> None:
    lab = Lab(name="lvsd-test", servers=1)

    def work() -> None:
        with lab:
            where.append((lab.name, lab.directory))
            raise ZeroDivisionError

    where: list[tuple[str, Path]] = []
    with pytest.raises(ZeroDivisionError):
        work()

    assert traces(*where[0]) == []


def test_a_lab_that_cannot_be_built_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvsd.lab.build.SYSCTLS", {"net.ipv4.nonesuch": "1"})

    with pytest.raises(KernelError, match="nonesuch"):
        Lab(name="lvsd-broken").__enter__()

    assert namespaces(f"lvsd-broken-{os.getpid()}") == []
    assert list(registry.REGISTRY.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_closing_twice_is_closing_once() -> None:
    with Lab(name="lvsd-test", servers=1) as lab:
        name, directory = lab.name, lab.directory
        lab.close()

        assert traces(name, directory) == []


def test_a_lab_can_be_built_again_after_it_was_removed() -> None:
    lab = Lab(name="lvsd-test", servers=1)
    for _ in range(2):
        with lab:
            lab.client.run(["ping", "-c1", "-W2", lab.director.addresses.v4])


def test_sigterm_in_this_process_removes_the_lab() -> None:
    where: list[tuple[str, Path]] = []

    def work() -> None:
        with Lab(name="lvsd-test", servers=1) as lab:
            where.append((lab.name, lab.directory))
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Terminated):
        work()

    assert traces(*where[0]) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_told_to_end_removes_its_lab(number: signal.Signals) -> None:
    holder = Holder()
    assert len(holder.inside) >= 2

    assert holder.end(number) != 0

    assert traces(holder.name, holder.directory) == []
    assert gone(holder.inside)


def test_what_a_killed_process_left_is_removed_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lab(name="lvsd-test", servers=1) as living:
        holder = Holder()
        holder.end(signal.SIGKILL)
        assert len(namespaces(holder.name)) == 5

        assert cli.main(["--remove"]) == 0

        assert capsys.readouterr().out == f"removed {holder.name}\n"
        assert traces(holder.name, holder.directory) == []
        assert gone(holder.inside)
        assert len(namespaces(living.name)) == 3


def test_removing_with_nothing_to_remove_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--remove"]) == 0
    assert capsys.readouterr().out == ""
