"""``lvsadm watch`` prints a line for each change, until it is ended or the daemon is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from lvsd.control import lvsadm
from lvsd.control.watching import ENDED, Teller
from lvsd.lab.wait import until
from tests.unit.control.test_drain_command import Daemon
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEB = {"protocol": "tcp", "address": "192.0.2.1", "port": 80}
RIP = {"address": "10.0.0.1", "port": 8080}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    world = World()
    world.serve(servers=1, name="web")
    daemon = Daemon(world, tmp_path / "control.sock")
    with structlog.testing.capture_logs():
        yield daemon
    daemon.stop()


def watch(daemon: Daemon, *options: str) -> subprocess.Popen[str]:
    """Start the command; it listens when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lvsd.control.lvsadm", "watch", *options],
        env={"LVSD_CONTROL": str(daemon.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert until(lambda: bool(daemon.door._listeners))
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_each_change_is_a_line_until_ctrl_c(daemon: Daemon) -> None:
    process = watch(daemon)
    for command in ("drain", "undrain"):
        assert lvsadm.main([command, "10.0.0.1:8080", "--control", str(daemon.path)]) == 0
    told = [line_of(process) for _ in range(2)]
    assert [each[9:].partition(" (by ")[0] for each in told] == [
        "server drained 10.0.0.1:8080 of web (tcp 192.0.2.1:80)",
        "server undrained 10.0.0.1:8080 of web (tcp 192.0.2.1:80)",
    ]
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode == 130


def test_the_daemons_end_is_told_and_is_a_status(daemon: Daemon) -> None:
    process = watch(daemon, "--json")
    lvsadm.main(["drain", "10.0.0.1:8080", "--control", str(daemon.path)])
    event = json.loads(line_of(process))
    assert (event["change"], event["service"], event["server"]) == ("server_drained", WEB, RIP)
    daemon.stop()
    output, errors = process.communicate()
    assert (output, process.returncode) == ("", ENDED)
    assert errors.startswith("lvsd has ended, or hung up: no more changes are told (lvsd hung up")
    assert errors.count("\n") == 1


def test_an_upgrade_is_told_apart_from_an_end(daemon: Daemon) -> None:
    process = watch(daemon)
    daemon.do(lambda: daemon.door.tell({"change": "upgrading"}))
    assert line_of(process)[9:].startswith("upgrading: ")
    daemon.stop()
    output, errors = process.communicate()
    assert (output, process.returncode) == ("", ENDED)
    assert errors == "lvsd goes on with other code, and has hung up: begin anew to see more\n"


def test_without_a_daemon_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvsadm.main(["watch", "--control", str(tmp_path / "nobody.sock")]) == 1
    assert capsys.readouterr().err.startswith("lvsd is not running: no socket")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            {
                "change": "service_added",
                "service": WEB,
                "after": WEB | {"name": "shop", "scheduler": "rr"},
                "by": "uid 0, process 7",
            },
            "service added shop (tcp 192.0.2.1:80): scheduler rr (by uid 0, process 7)",
        ),
        (
            {
                "change": "server_edited",
                "service": WEB,
                "server": RIP,
                "before": RIP | {"weight": 1, "forward": "nat"},
                "after": RIP | {"weight": 5, "forward": "nat"},
            },
            "server edited 10.0.0.1:8080 of web (tcp 192.0.2.1:80): weight 1 -> 5",
        ),
        (
            {"change": "server_drained", "service": WEB, "server": RIP, "deadline_s": 60},
            "server drained 10.0.0.1:8080 of web (tcp 192.0.2.1:80): what is left ends after 60 s",
        ),
        (
            {"change": "server_empty", "service": WEB, "server": RIP, "cut": 3},
            (
                "server empty 10.0.0.1:8080 of web (tcp 192.0.2.1:80): it has no connections, "
                "3 were cut at the deadline"
            ),
        ),
        (
            {"change": "health", "service": WEB, "server": RIP, "health": "quiesced"},
            (
                "health 10.0.0.1:8080 of web (tcp 192.0.2.1:80): "
                "quiesced: no new connections, and UDP goes elsewhere"
            ),
        ),
        (
            {"change": "health", "service": WEB, "server": RIP, "health": "of later"},
            "health 10.0.0.1:8080 of web (tcp 192.0.2.1:80): of later",
        ),
        (
            {"change": "timeouts_edited", "before": [900, 120, 300], "after": [900, 60, 300]},
            "timeouts edited: tcpfin 120 -> 60 s",
        ),
        (
            {"change": "service_removed", "service": {"fwmark": 7, "family": 6}},
            "service removed mark 7 IPv6",
        ),
        (
            {
                "change": "service_edited",
                "service": {"protocol": "udp", "address": "2001:db8::1", "port": 53},
                "before": {"name": "", "flags": []},
                "after": {"name": "d\x1bns", "flags": ["sh-port"]},
            },
            (
                'service edited d\\x1bns (udp [2001:db8::1]:53): name "" -> d\\x1bns, '
                'flags [] -> ["sh-port"]'
            ),
        ),
        ({"change": "zeroed"}, "zeroed: all counters"),
        ({"change": "lost", "count": 9}, "lost: 9 changes came faster than they were taken"),
        (
            {"change": "upgrading"},
            "upgrading: lvsd goes on with the code that is installed now, and hangs up",
        ),
        ({"change": "of_tomorrow"}, "of tomorrow"),
    ],
    ids=lambda each: each["change"] if isinstance(each, dict) else "",
)
def test_a_line_names_service_and_server_and_says_what_is_new(
    event: dict[str, Any], told: str
) -> None:
    assert Teller({"tcp 192.0.2.1:80": "web"}).line(event)[9:] == told


def test_a_service_that_is_renamed_or_removed_is_called_so_from_then_on() -> None:
    teller = Teller({})
    for name in ("shop", "store"):
        told = teller.line({"change": "service_edited", "service": WEB, "after": {"name": name}})
        assert f" {name} (tcp" in told
    assert " store (tcp" in teller.line({"change": "service_removed", "service": WEB})
    assert " tcp 192.0.2.1:80" in teller.line({"change": "service_added", "service": WEB})


def test_where_the_daemon_listens_may_stand_before_the_command(daemon: Daemon) -> None:
    for where in (["--control", str(daemon.path)], [f"--control={daemon.path}"]):
        for command in ("drain", "undrain"):
            assert lvsadm.main([*where, command, "10.0.0.1:8080"]) == 0
