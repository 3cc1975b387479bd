"""What lvsadm saves, and what it restores of lines that others wrote."""

from __future__ import annotations

import pytest

from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from tests.in_process import InProcess


@pytest.fixture
def director() -> InProcess:
    return InProcess(Balancer(make_scheduler))


def lines(text: str) -> str:
    return "".join(f"{line.strip()}\n" for line in text.strip().splitlines())


SAVED_BY_IPVSADM = lines("""
    -A -t 192.0.2.10:80 -s rr
    -a -t 192.0.2.10:80 -r 10.0.0.11:8080 -m -w 1
    -a -t 192.0.2.10:80 -r 10.0.0.20:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
    -a -t 192.0.2.10:80 -r [2001:db8::1]:80 -i -w 1 --tun-type ipip
    -A -u 192.0.2.10:53 -s sh -p 60 -M 255.255.255.0 -o -b sh-fallback,sh-port
    -A -f 8 -6 -s wlc
    -a -f 8 -6 -r [2001:db8::1]:5 -m -w 0
""")


def test_what_ipvsadm_saved_is_restored_and_saved_as_it_was(director: InProcess) -> None:
    assert director.type(["-R"], SAVED_BY_IPVSADM) == (0, "", "")
    assert director.type(["-Sn"]) == (0, SAVED_BY_IPVSADM, "")


def test_what_ipvsadm_has_no_option_for_is_saved_too(director: InProcess) -> None:
    written = lines("""
        -A -t 192.0.2.10:80 -s wlc --name 'the shop' --max-connections 9 --slow-start 5 \
--mss-clamp --laddr 10.0.1.5,10.0.1.6 --local-ports 2000-3000 --tcp-timeout 60
        -a -t 192.0.2.10:80 -r 10.0.0.11:8080 -F -w 1 -x 9 -y 3 --client-address none
        --set 60 120 300
    """)
    assert director.type(["-R"], written) == (0, "", "")
    assert director.type(["-Sn"]) == (0, written, "")


def test_a_great_mark_is_written_as_it_is_read(director: InProcess) -> None:
    assert director.type(["-A", "-f", "4294967295"]).status == 0
    assert director.type(["-S"]).output == "-A -f 4294967295 -s wlc\n"


def test_names_are_saved_where_numbers_are_not_asked_for(
    director: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostbyaddr", lambda _: ("a-long-name" * 9, [], []))
    monkeypatch.setattr("socket.getservbyport", lambda *_: "http")
    director.type(["-A", "-t", "203.0.113.77:80"])
    assert director.type(["-S"]).output == f"-A -t {'a-long-name' * 9}:http -s wlc\n"


def test_lines_that_say_nothing_are_passed_over(director: InProcess) -> None:
    text = "# a comment\n\n  \nipvsadm -A -t 192.0.2.10:80  # web\n lvsadm  -A -f '7'\n"
    assert director.type(["-R"], text) == (0, "", "")
    assert director.type(["-Sn"]).output == lines("""
        -A -t 192.0.2.10:80 -s wlc
        -A -f 7 -s wlc
    """)


@pytest.mark.parametrize(
    ("wrong", "status", "why"),
    [
        ("-A -t 192.0.2.10:x", 2, ("illegal virtual server address[:port] specified:"
                                  " 'x' is no tcp port, and no name of one")),
        ("-A -q", 255, "-q: unknown option"),
        ("-A -t 'oh", 2, "No closing quotation"),
        ("192.0.2.10:80", 255, "unexpected argument 192.0.2.10:80"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named_and_nothing_is_done(
    director: InProcess, wrong: str, status: int, why: str
) -> None:
    answered = director.type(["-R"], f"-A -f 7\n\n{wrong}\n-A -f 8\n")
    assert answered.status == status
    assert answered.errors.splitlines()[0] == f"line 3: {why}"
    assert not director.wanted.services


@pytest.mark.parametrize("line", ["-L", "-n", "-S", "-R", "-h", "-v", "--status"])
def test_what_changes_nothing_does_not_belong_among_the_lines(
    director: InProcess, line: str
) -> None:
    answered = director.type(["-R"], f"{line}\n")
    assert (answered.status, answered.output) == (2, "")
    assert answered.errors.startswith("line 1: --")


def test_a_list_of_which_one_line_is_refused_does_nothing(director: InProcess) -> None:
    director.type(["-A", "-f", "7"])
    answered = director.type(["-R"], "-C\n-D -f 7\n\n-A -f 8\n-A -f 8\n")
    assert answered == (255, "", "line 2: No such service\n")
    assert director.type(["-Sn"]).output == "-A -f 7 -s wlc\n"


def test_a_flag_that_a_scheduler_does_not_have_is_refused(director: InProcess) -> None:
    answered = director.type(["-A", "-f", "7", "-s", "rr", "-b", "flag-1"])
    assert answered == (255, "", "scheduler rr has no flag flag-1; there are: none\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n-A -f 8\n-A -f 8\n", "line 3: Service already exists"),
        ("-A -f 8\n-a -f 9 -r 10.0.0.1 -m\n", "line 2: Service not defined"),
        ("\n-a -f 9 -r 10.0.0.1 -m\n", "line 2: Service not defined"),
        ("-A -f 8\n-A -f 9 -s sometimes", "line 2: Scheduler or persistence engine not found"),
        ("-A -f 8\n-A -f 9 --name " + 99 * "x", ("line 2: service.name: expected up to 64"
                                               " printable characters")),
    ],
)  # fmt: skip
def test_the_line_that_the_daemon_refuses_is_named(
    director: InProcess, text: str, why: str
) -> None:
    assert director.type(["-R"], text) == (255, "", f"{why}\n")
    assert not director.wanted.services


def test_of_a_single_command_only_what_is_wrong_is_said(director: InProcess) -> None:
    answered = director.type(["-A", "-f", "9", "--name", 99 * "x"])
    assert answered == (255, "", "service.name: expected up to 64 printable characters\n")
