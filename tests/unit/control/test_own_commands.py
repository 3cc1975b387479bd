"""Mistakes in the commands that ipvsadm has nothing like are told as all others of lvsadm are."""

from __future__ import annotations

import pytest

from lvsd.control import lvsadm
from lvsd.control.lvsadm import OWN_COMMANDS

USUAL = {
    "--nope": "--nope: unknown option",
    "--control": "--control: missing argument",
}
SAID = {
    "drain one two": "unexpected argument two",
    "watch foo": "unexpected argument foo",
    "undrain": "You need to supply 'SERVER' for the 'undrain' command",
    "save": "You need to supply '--toml' for the 'save' command",
    "drain one --deadline 5w": (
        "--deadline: '5w' is no time such as 90s, 5m or 2h, of 31 days at the most"
    ),
    "watch --json=3": "--json: option does not take an argument",
    "drain -t 192.0.2.1:80 -u 192.0.2.1:53": (
        "The option '--udp-service' conflicts with the '--tcp-service' option"
        " in the 'drain' command"
    ),
    "drain --wait": "--deadline and --wait go with a server: lvsadm drain SERVER ...",
}


def told(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = lvsadm.main(line.split())
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


@pytest.mark.parametrize("option", USUAL)
@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_an_option_that_is_wrong_is_told_in_a_line(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {
        "undrain": "192.0.2.1:80 ",
        "save": "--toml ",
        "check": "web 10.0.0.11:80 ",
    }.get(command, "")
    line = f"{command} {needed}{option}"

    assert told(line, capsys) == (2, f"{USUAL[option]}\n")
    assert told(f"-L {option}", capsys)[1].startswith(USUAL[option])


@pytest.mark.parametrize("line", SAID)
def test_a_wrong_command_line_is_told_in_a_line(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(line, capsys) == (2, f"{SAID[line]}\n")


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_the_help_says_what_the_exit_status_means(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvsadm.main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: lvsadm {command} ")
    assert "Exit status: " in said
    assert "usage:" not in said
