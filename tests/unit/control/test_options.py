"""lvsadm's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvsd.control.client import PATH_VARIABLE
from lvsd.control.options import OPTIONS, USAGE, Command, Request, View, parse
from lvsd.errors import UsageError


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


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
        ("-L --sort", Request()),
        ("-L --timeout", Request(timeout=True)),
        ("-L --json", Request(json=True)),
        ("-L -t 192.0.2.10:80", Request(endpoint=("tcp", "192.0.2.10:80"))),
        ("-L -t192.0.2.10:80", Request(endpoint=("tcp", "192.0.2.10:80"))),
        ("-L -t=192.0.2.10:80", Request(endpoint=("tcp", "192.0.2.10:80"))),
        ("-Lnu 192.0.2.10:53", Request(endpoint=("udp", "192.0.2.10:53"), numeric=True)),
        ("-L --tcp-service=[2001:db8::1]:80", Request(endpoint=("tcp", "[2001:db8::1]:80"))),
        ("-L --sctp-service 192.0.2.10:9", Request(endpoint=("sctp", "192.0.2.10:9"))),
        ("-Lf7", Request(fwmark=7)),
        ("-L -f 4294967295 -6", Request(fwmark=0xFFFFFFFF, family=6)),
        ("-Z", Request(command=Command.ZERO)),
        ("-Z -f 7", Request(command=Command.ZERO, fwmark=7)),
        ("--zero --udp-service 192.0.2.10:53",
         Request(command=Command.ZERO, endpoint=("udp", "192.0.2.10:53"))),
        ("--status --json", Request(command=Command.STATUS, json=True)),
        ("-h", Request(command=Command.HELP)),
        ("--version", Request(command=Command.VERSION)),
        ("-L --control /tmp/x", Request(control=Path("/tmp/x"))),  # noqa: S108 - never opened
    ],
)  # fmt: skip
def test_a_command_line_is_understood(line: str, expected: Request) -> None:
    assert parse(line.split()) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-q", "-q: unknown option"),
        ("-Lq", "-q: unknown option"),
        ("--quick", "--quick: unknown option"),
        ("--stat", "--stat: unknown option"),
        ("-L extra", "unexpected argument extra"),
        ("-L -", "unexpected argument -"),
        ("-L -t", "-t needs an argument"),
        ("-L --fwmark-service", "--fwmark-service needs an argument"),
        ("-L --stats=1", "--stats takes no argument"),
        ("-Ln -n", "--numeric is given twice"),
        ("-L -t a:1 -t b:2", "--tcp-service is given twice"),
        ("-L -Z", "--list and --zero: which?"),
        ("-Zn", "--numeric does not go with --zero"),
        ("-Z --tun-info", "--tun-info does not go with --zero"),
        ("--status -c", "--connection does not go with --status"),
        ("--status -t a:1", "--tcp-service does not go with --status"),
        ("-L -t a:1 -u a:1", "--tcp-service and --udp-service do not go together"),
        ("-Lc -t a:1", "--connection and --tcp-service do not go together"),
        ("-Lc --timeout", "--connection and --timeout do not go together"),
        ("-Lc --stats", "--connection and --stats do not go together"),
        ("-L --timeout --persistent-conn", "--timeout and --persistent-conn do not go together"),
        ("-L6", "-6 belongs to -f MARK"),
        ("-Lf 0", "'0' is not a mark from 1 to 4294967295"),
        ("-Lf 4294967296", "'4294967296' is not a mark from 1 to 4294967295"),
        ("-Lf -1", "'-1' is not a mark from 1 to 4294967295"),
        ("-Lf x", "'x' is not a mark from 1 to 4294967295"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong(line: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(line.split())
    assert str(refused.value) == reason


def test_the_environment_names_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "/run/other/control.sock")
    assert parse([]).control == Path("/run/other/control.sock")


def test_the_usage_text_has_every_option() -> None:
    assert [option.name for option in OPTIONS if f"--{option.name}" not in USAGE] == [
        "list", "list", "zero", "help", "version"
    ]  # fmt: skip
    assert [option.letter for option in OPTIONS if f"-{option.letter}" not in USAGE] == []
