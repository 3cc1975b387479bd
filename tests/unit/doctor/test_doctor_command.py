"""``lvsd doctor`` as it is typed, where it gets no further than its command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: lvsd doctor [-h] [-c FILE]")


@pytest.mark.parametrize(
    "words", [["--fast"], ["--config"], ["--js"], ["--wait", "0"], ["--wait", "nan"]]
)
def test_a_wrong_command_line_ends_with_64(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *words]) == 64
    assert capsys.readouterr().err.endswith("see 'lvsd doctor --help'\n")


def test_with_neither_a_daemon_nor_a_configuration_it_says_what_to_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = tmp_path / "no.sock"
    assert main(["doctor", "--control", str(socket)]) == 64
    remedy = "start it, or give its socket with --control PATH"
    complaint = f"lvsd: lvsd is not running: no socket {socket}; {remedy}"
    assert capsys.readouterr().err == f"{complaint}; or say which configuration with -c FILE\n"
