"""lvsadm as a command: what it prints where, and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import lvsd
from lvsd.config.plugins import make_scheduler
from lvsd.control import lvsadm
from lvsd.control.client import ControlClient
from lvsd.control.usage import USAGE
from lvsd.core.balancer import Balancer
from lvsd.errors import ControlError
from lvsd.lab.wait import PATIENCE
from tests.in_process import InProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from lvsd.control.server import ControlServer

    RunWith = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    Lvsadm = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def director() -> InProcess:
    return InProcess(Balancer(make_scheduler))


@pytest.fixture
def run(server: ControlServer, run_with: RunWith, capsys: pytest.CaptureFixture[str]) -> Lvsadm:
    """Return a function that runs lvsadm against the server: (status, stdout, stderr)."""

    def run(line: str) -> tuple[int, str, str]:
        async def scenario() -> int:
            arguments = [*line.split(), "--control", str(server.path)]
            return await asyncio.to_thread(lvsadm.main, arguments)

        status = run_with(scenario)
        return status, *capsys.readouterr()

    return run


def test_json_of_services_is_one_object(run: Lvsadm) -> None:
    status, output, _ = run("-L --json")
    services = json.loads(output)["services"]
    assert status == 0
    assert [(each["name"], len(each["servers"])) for each in services] == [("web", 2), ("", 0)]
    assert [each["address"] for each in services[0]["servers"]] == ["10.0.0.11", "10.0.0.12"]


def test_json_of_no_connections_is_an_empty_list(run: Lvsadm) -> None:
    _, output, _ = run("-Lc --json")
    assert json.loads(output) == {"connections": []}


def test_json_of_timeouts_has_their_units(run: Lvsadm) -> None:
    _, output, _ = run("-L --timeout --json")
    assert json.loads(output) == {"tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}


def test_status_has_every_reason_for_a_drop(run: Lvsadm, balancer: Balancer) -> None:
    status, output, _ = run("--status")
    head, *lines = output.splitlines()
    assert status == 0
    assert head.endswith("up 0 s, 2 services")
    drops = lines[lines.index("drops:") + 1 : lines.index("queue:")]
    assert [line.split()[0] for line in drops] == sorted(balancer.dropped())


def test_status_has_what_is_counted_around_the_director(run: Lvsadm) -> None:
    _, output, _ = run("--status")
    assert output.partition("queue:\n")[2] == (
        "  kernel_dropped           2\n"
        "  received                 9\n"
        "icmp:\n"
        "  sent                     1\n"
    )


def test_json_of_status_has_its_groups(run: Lvsadm) -> None:
    _, output, _ = run("--status --json")
    assert json.loads(output)["groups"] == {
        "queue": {"received": 9, "kernel_dropped": 2},
        "icmp": {"sent": 1},
    }


def test_zero_prints_nothing(run: Lvsadm, balancer: Balancer) -> None:
    assert run("-Z") == (0, "", "")
    [web, _] = balancer.services
    assert [server.meter.totals.connections for server in web.servers] == [0, 0]


@pytest.mark.parametrize(("command", "status"), [("-L", 1), ("-L --nosort", 1), ("-Z", 255)])
def test_an_unknown_service_is_one_line_and_a_status(
    run: Lvsadm, command: str, status: int
) -> None:
    assert run(f"{command} -t 192.0.2.10:81") == (status, "", "No such service\n")


def test_an_unknown_option_is_one_line_and_status_255(run: Lvsadm) -> None:
    assert run("-Lq") == (255, "", "-Lq: unknown option\n")


def test_a_service_that_is_none_is_one_line_and_status_2(run: Lvsadm) -> None:
    line = "illegal virtual server address[:port] specified: '80' is not ADDRESS[:PORT]\n"
    assert run("-L -t 80") == (2, "", line)


def test_help_is_usage_on_stdout(run: Lvsadm) -> None:
    status, output, errors = run("-h")
    assert (status, errors) == (0, "")
    assert output == f"{lvsadm.VERSION}\n{USAGE}"


def test_version_is_one_line(run: Lvsadm) -> None:
    assert run("-v") == (0, f"{lvsadm.VERSION}\n", "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "lvsd.control.lvsadm", "-h"],
        stdout=write_end, stderr=subprocess.PIPE, timeout=30 * PATIENCE, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "lvsd.control.lvsadm", "-h"],
            stdout=full, stderr=subprocess.PIPE, timeout=30 * PATIENCE, check=False,
        )  # fmt: skip
    said = b"the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_what_is_no_text_is_not_restored() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lvsd.control.lvsadm", "-R"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        input=b"-A -f 7\n\xff\xfe\n", capture_output=True, timeout=30 * PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"the input is no text: ")


def test_lvsadm_starts_without_the_daemons_libraries() -> None:
    program = (
        "import lvsd.control.lvsadm, sys;"
        " print(sorted({'asyncio', 'pydantic', 'structlog', 'uvloop'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30 * PATIENCE,
        check=True,
    )
    assert done.stdout == "[]\n"


# --- a daemon of another version ------------------------------------------------------------

OTHER_VERSION = (
    f"lvsd is of another version than this lvsadm, {lvsd.__version__}: {{}};"
    " restart it, or use the lvsadm of its version\n"
)


def test_a_daemon_that_cannot_be_changed_yet_is_of_another_version(run: Lvsadm) -> None:
    told = OTHER_VERSION.format("no method 'change'")
    assert run("-A -t 192.0.2.10:80") == (255, "", told)


def test_a_daemon_whose_answer_lacks_something_is_of_another_version(
    director: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    director.type(["-A", "-f", "7"])
    [entry] = director.items("list")
    del entry["local_ports"]
    monkeypatch.setattr(director, "items", lambda *_, **__: iter([entry]))
    status, output, errors = director.type(["-S"])
    assert (status, output) == (1, "")
    assert errors == OTHER_VERSION.format("its answer lacks 'local_ports'")


def test_of_several_faults_one_is_named(director: InProcess) -> None:
    assert director.type(["-A", "-f", "7"]).status == 0
    answered = director.type(["-A", "-f", "7", "-s", "sometimes"])
    assert answered == (255, "", "Scheduler or persistence engine not found\n")


# --- every list as JSON ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *("-L", "-L --stats", "-L --rate", "-L --thresholds", "-L --persistent-conn"),
        *("-L --tun-info", "-L --nosort", "-L -f 7", "-Lc", "-L --timeout", "-L --daemon"),
        "--status",
    ],
)
def test_every_list_is_had_as_json(director: InProcess, line: str) -> None:
    director.type(["-A", "-f", "7"])
    status, output, errors = director.type([*line.split(), "--json"])
    assert (status, errors) == (0, "")
    assert json.loads(output)


def test_there_are_no_daemons_of_synchronization(director: InProcess) -> None:
    assert director.type(["-L", "--daemon"]) == (0, "", "")
    assert json.loads(director.type(["-L", "--daemon", "--json"]).output) == {"daemons": []}


# --- nobody there ---------------------------------------------------------------------------


def test_no_socket_says_that_lvsd_is_not_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    assert lvsadm.main(["-Ln", "--control", str(path)]) == 1
    remedy = "start it, or give its socket with --control PATH"
    told = f"lvsd is not running: no socket {path}; {remedy}\n"
    assert capsys.readouterr() == ("", told)


def test_a_dead_socket_says_that_lvsd_is_not_running(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ControlError, match="lvsd is not running: nobody listens on"):
        ControlClient(path)


def test_no_permission_says_to_be_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ControlError, match=r"Permission denied \(you must be root\)"):
        ControlClient(tmp_path / "control.sock")


def test_a_silent_daemon_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with (
            ControlClient(path, timeout_s=0.01) as client,
            pytest.raises(ControlError, match="lvsd does not answer on"),
        ):
            client.call("status")


def test_a_daemon_that_hangs_up_in_the_middle_of_a_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with ControlClient(path) as client:
            daemon, _ = listener.accept()
            daemon.sendall(b'{"result":[1],"more":true}\n{"result"')
            daemon.shutdown(socket.SHUT_WR)
            with pytest.raises(ControlError, match="lvsd hung up on"):
                client.items("list")
            daemon.close()
