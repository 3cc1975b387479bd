"""``lvsd lab`` and ``lvsd demo`` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.errors import KernelError
from lvsd.lab import Lab, processes, programs, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[3]


def lvsd(*words: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    size = {} if columns is None else {"COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-m", "lvsd", *words],
        cwd=ROOT,
        env=os.environ | size,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def widest(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def test_the_demo_comes_out_as_the_schedulers_say() -> None:
    demo = lvsd("demo", columns=60)

    assert demo.stderr == ""
    assert demo.returncode == 0, demo.stdout
    commands = [line for line in demo.stdout.splitlines() if line.startswith("  lvsd ")]
    listing = [line for line in demo.stdout.splitlines() if line.startswith("control = ")]
    unwrapped = {*commands, *listing}
    assert widest([line for line in demo.stdout.splitlines() if line not in unwrapped]) <= 60
    assert list(processes.NETNS.glob("lvsd-demo-*")) == []


def test_the_demo_says_so_when_a_server_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from lvsd.lab import demo  # noqa: PLC0415 - patched below

    nginx = programs.nginx
    monkeypatch.setattr(
        programs, "nginx", lambda space: None if space.host == "server2" else nginx(space)
    )

    assert demo.main([]) == 1


def test_a_command_runs_as_the_client_and_its_status_is_ours() -> None:
    asked = lvsd("lab", "--", "sh", "-c", 'curl -sS "http://$VIP/" "http://[$VIP6]/"; exit 7')

    assert asked.stderr == ""
    assert asked.returncode == 7
    assert asked.stdout.split()[1::2] == ["192.0.2.100", "2001:db8:1::100"]


def test_the_map_is_printed_as_json() -> None:
    shown = lvsd("lab", "--no-daemon", "--servers", "1", "--for", "0", "--json")

    report = json.loads(shown.stdout)
    assert sorted(report["hosts"]) == ["client", "director", "server1"]
    assert report["vip"] == {"v4": "198.51.100.10", "v6": "2001:db8:51::10"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_lab_stays_until_it_is_told_to_end(number: signal.Signals, status: int) -> None:
    argv = [sys.executable, "-m", "lvsd", "lab", "--servers", "1", "--json"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, "it ended before it said all"
            text += line
        name = json.loads(text)["name"]
        assert len(list(processes.NETNS.glob(f"{name}-*"))) == 3

        process.send_signal(number)

        assert process.wait(20) == status
    assert list(processes.NETNS.glob(f"{name}-*")) == []


def test_a_daemon_that_cannot_start_is_quoted() -> None:
    config = """
[[service]]
name = "web"
address = "198.51.100.10:80"
protocol = "tcp"
scheduler = "nonesuch"
"""
    problem = r"ended with status 78; it said: .*nonesuch"

    with Lab(name="lvsd-test", servers=1) as lab, pytest.raises(KernelError, match=problem):
        programs.lvsd(lab.director, config)


def test_a_daemon_stops_with_status_zero() -> None:
    with Lab(name="lvsd-test", servers=1) as lab:
        daemon = programs.lvsd(lab.director, settings.toml([], lab.directory / "c.sock"))
        assert daemon.control.is_socket()

        assert daemon.stop() == 0
