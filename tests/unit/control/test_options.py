"""lvsadm's command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.control.client import PATH_VARIABLE
from lvsd.control.grammar import COMMANDS, OPTIONS, CommandLineError
from lvsd.control.options import Command, Request, View, parse
from lvsd.control.usage import USAGE

if TYPE_CHECKING:
    from lvsd.control.protocol import ServiceSelector


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


WEB: ServiceSelector = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
DNS: ServiceSelector = {"protocol": "udp", "address": "192.0.2.10", "port": 53}
MARK: ServiceSelector = {"fwmark": 7, "family": 4}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Request()),
        ("-L", Request()),
        ("-l", Request()),
        ("--list", Request()),
        ("-n", Request(numeric=True)),
        ("-Ln", Request(numeric=True)),
        ("-nL", Request(numeric=True)),
        ("-Lnc", Request(numeric=True, connection=True)),
        ("-L --numeric --connection", Request(numeric=True, connection=True)),
        ("-L --stats --exact", Request(view=View.STATS, exact=True)),
        ("-LX --rate", Request(view=View.RATE, exact=True)),
        ("-L --thresholds", Request(view=View.THRESHOLDS)),
        ("-L --persistent-conn", Request(view=View.PERSISTENT)),
        ("-Lc --persistent-conn", Request(connection=True, view=View.PERSISTENT)),
        ("-L --tun-info", Request(view=View.TUNNEL)),
        ("-L --tun-info --exact", Request(view=View.TUNNEL, exact=True)),
        ("-Lc --tun-info", Request(connection=True, view=View.TUNNEL)),
        ("-L --timeout --tun-info", Request(timeout=True, view=View.TUNNEL)),
        ("-L --tun-info --persistent-conn", Request(view=View.PERSISTENT)),
        ("-L --thresholds --rate --stats", Request(view=View.STATS)),
        ("-L --nosort", Request(sort=False)),
        ("-L --sort --sort", Request()),
        ("-L --timeout", Request(timeout=True)),
        ("-L --daemon", Request(daemon=True)),
        ("-L --json", Request(json=True)),
        ("-L -t 192.0.2.10:80", Request(service=WEB)),
        ("-L -t192.0.2.10:80", Request(service=WEB)),
        ("-L -t=192.0.2.10:80", Request(service=WEB)),
        ("-Lnu 192.0.2.10:53", Request(service=DNS, numeric=True)),
        ("-L --tcp-service=[2001:db8::1]:80",
         Request(service={"protocol": "tcp", "address": "2001:db8::1", "port": 80})),
        ("-L --sctp-service 192.0.2.10:9",
         Request(service={"protocol": "sctp", "address": "192.0.2.10", "port": 9})),
        ("-Lf7", Request(service=MARK)),
        ("-L -f 4294967295 -6", Request(service={"fwmark": 0xFFFFFFFF, "family": 6})),
        ("-Z", Request(command=Command.ZERO, changes=[{"command": "zero"}])),
        ("-Z -f 7", Request(command=Command.ZERO, changes=[{"command": "zero", "service": MARK}])),
        ("--status --json", Request(command=Command.STATUS, json=True)),
        ("-S -n", Request(command=Command.SAVE, numeric=True)),
        ("-S --nosort", Request(command=Command.SAVE, sort=False)),
        ("-R", Request(command=Command.RESTORE)),
        ("-C", Request(command=Command.CLEAR, changes=[{"command": "clear"}])),
        ("--set 900 120 300", Request(command=Command.SET, changes=[
            {"command": "set_timeouts", "tcp_s": 900, "tcp_fin_s": 120, "udp_s": 300}])),
        ("-h", Request(command=Command.HELP)),
        ("-h whatever", Request(command=Command.HELP)),
        ("--version", Request(command=Command.VERSION)),
        ("-L --control /tmp/x", Request(control=Path("/tmp/x"))),  # noqa: S108 - never opened
        ("--control /tmp/x -L", Request(control=Path("/tmp/x"))),  # noqa: S108
    ],
)  # fmt: skip
def test_a_command_line_is_understood(line: str, expected: Request) -> None:
    assert parse(line.split()) == expected


TRY = "Try `lvsadm -h' or 'lvsadm --help' for more information."


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("-q", 255, f"-q: unknown option\n{TRY}"),
        ("-Lq", 255, "-Lq: unknown option"),
        ("-L --quick", 255, "--quick: unknown option"),
        ("-L --stat", 255, "--stat: unknown option"),
        ("extra", 255, f"unexpected argument extra\n{TRY}"),
        ("-L extra", 2, "unexpected argument extra"),
        ("-L -", 2, "unexpected argument -"),
        ("-A -- -t", 2, "unexpected argument -t"),
        ("-L -t", 255, "-t: missing argument"),
        ("-L --fwmark-service", 255, "--fwmark-service: missing argument"),
        ("-L --stats=1", 255, "--stats=1: option does not take an argument"),
        ("-Ln -n", 2, "multiple 'numeric' options specified"),
        ("-L -t 1.2.3.4:1 -f 7", 2, "multiple 'service-address' options specified"),
        ("-a -m -F", 2, "multiple 'forwarding-method' options specified"),
        ("-L -Z", 2, "invalid option `-Z'"),
        ("-AD", 2, "invalid option `-AD'"),
        ("-Zn", 2, "Illegal 'numeric' option with the 'zero' command"),
        ("-Cn", 2, "Illegal 'numeric' option with the 'flush' command"),
        ("-L --tun-port 5", 2, "Illegal 'tun-port' option with the 'list' command"),
        ("-S --json", 2, "Illegal 'json' option with the 'save' command"),
        ("-A", 2, "You need to supply the 'service-address' option for the 'add-service' command"),
        ("-a -t 1.2.3.4:1", 2,
         "You need to supply the 'real-server' option for the 'add-server' command"),
        ("--status -c", 2, "Illegal 'connection' option with the 'status' command"),
        ("-Lc -t 1.2.3.4:1", 2, ("The option 'service-address' conflicts with the 'connection'"
         " option in the 'list' command")),
        ("-L --daemon --timeout", 2, ("The option 'daemon' conflicts with the 'timeout'"
         " option in the 'list' command")),
        ("-Lc --stats", 2, "options conflicts in the list command"),
        ("-L --timeout --persistent-conn", 2, "options conflicts in the list command"),
        ("-L6", 2, "-6 used before -f"),
        ("-L -t 1.2.3.4:1 -6", 2, "-6 used before -f"),
        ("-Lf 0", 2, "invalid fwmark value `0' specified"),
        ("-Lf 4294967296", 2, "invalid fwmark value `4294967296' specified"),
        ("-Lf -1", 2, "invalid fwmark value `-1' specified"),
        ("-Lf x", 2, "invalid fwmark value `x' specified"),
        ("--set 1 2", 2, "--set option requires 3 timeout values"),
        ("--set 1 2 3 4", 2, "unexpected argument 4"),
        ("--set 1 x 3", 2, "invalid timeout value `x' specified"),
        ("--set 2678401 1 1", 2, "invalid timeout value `2678401' specified"),
        ("--start-daemon sometimes", 2, "illegal start-daemon parameter specified"),
        ("--start-daemon master", 255,
         "lvsd does not tell other directors of its connections: there is no such daemon"),
        ("--stop-daemon backup", 255, "No daemon is running"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_what_is_wrong(line: str, status: int, reason: str) -> None:
    with pytest.raises(CommandLineError) as refused:
        parse(line.split())
    assert (refused.value.status, str(refused.value)) == (status, reason)


def test_the_environment_names_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "/run/other/control.sock")
    assert parse([]).control == Path("/run/other/control.sock")


def test_the_usage_text_has_every_command_and_option() -> None:
    of_synchronization = {
        *("mcast-interface", "mcast-group", "mcast-port", "mcast-ttl", "syncid", "sync-maxlen")
    }
    named = [option for option in (*COMMANDS, *OPTIONS) if option.name not in of_synchronization]
    assert [option.name for option in named if f"--{option.name}" not in USAGE] == []
    assert [option.letter for option in named if f"-{option.letter}" not in USAGE] == []
