"""The log's formats, as a process writes them to a real stderr."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd import log
from lvsd.lab.wait import PATIENCE
from tests.quick_start import AT_LOADING

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "tests.program")

PROGRAM = """
import logging, sys, structlog
from lvsd import log
log.configure(sys.argv[1], sys.argv[2])
logger = structlog.get_logger("lvsd")
logger.debug("hidden")
logger.info("ready", services=2, text="two\\nlines")
logging.getLogger("asyncio").warning("from a %s", "library")
try:
    raise ValueError("secret of a local variable is not logged")
except ValueError as error:
    secret = "hunter2"
    logger.error("failed", exc_info=error)
"""


CHANGED = """
import logging, sys, structlog
from lvsd import log
log.configure("info", "json")
logger = structlog.get_logger("lvsd")
for level in ("error", "debug"):
    log.set_level(level)
    logger.debug(level)
    logger.error(level)
    logging.getLogger("asyncio").warning(level)
"""


def plain() -> dict[str, str]:
    """Return an environment that says nothing of how to log."""
    needed = ("PATH", *AT_LOADING)
    return {key: value for key, value in os.environ.items() if key.startswith(needed)}


def run(level: str, format_: str, **environ: str) -> list[str]:
    """Return the lines that the program logs to a pipe."""
    done = subprocess.run(
        [*RUN, PROGRAM, level, format_],
        cwd=ROOT,
        env=plain() | environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * PATIENCE,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def run_on_terminal(**environ: str) -> str:
    """Return what the program logs to a terminal."""
    leader, follower = pty.openpty()
    try:
        subprocess.run(
            [*RUN, PROGRAM, "info", "auto"],
            cwd=ROOT,
            env=plain() | {"TERM": "xterm"} | environ,
            stderr=follower,
            check=True,
            timeout=60 * PATIENCE,
        )
        return os.read(leader, 65536).decode()
    finally:
        os.close(leader)
        os.close(follower)


def test_json_is_one_object_a_line_with_tracebacks_but_no_variables() -> None:
    ready, library, failed = map(json.loads, run("info", "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", ready.pop("timestamp"))
    assert ready == {"event": "ready", "level": "info", "services": 2, "text": "two\nlines"}
    assert (library["event"], library["level"]) == ("from a library", "warning")
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert "hunter2" not in json.dumps(failed)


def test_journal_lines_carry_a_priority_each_and_no_time() -> None:
    lines = run("info", "journal")
    assert lines[:3] == [
        "<6>ready services=2 text='two\\nlines'",
        "<4>from a library",
        "<3>failed",
    ]
    assert {line[:3] for line in lines[3:]} == {"<3>"}
    assert lines[-1] == "<3>ValueError: secret of a local variable is not logged"


def test_text_is_for_people() -> None:
    ready, library, *failed = run("info", "text")
    assert re.fullmatch(r"\S+Z \[info *\] ready +services=2 text='two\\nlines'", ready)
    assert re.fullmatch(r"\S+Z \[warning *\] from a library *", library)
    assert failed[-1] == "ValueError: secret of a local variable is not logged"


def test_debug_shows_what_info_hides() -> None:
    assert len([line for line in run("debug", "journal") if line == "<7>hidden"]) == 1
    assert len([line for line in run("error", "journal") if line[:3] != "<3>"]) == 0


def test_a_pipe_gets_json_and_a_terminal_coloured_text() -> None:
    assert json.loads(run("info", "auto")[0])["event"] == "ready"
    assert "\x1b[" in run_on_terminal()
    plain = run_on_terminal(NO_COLOR="1")
    assert "ready" in plain
    assert "\x1b[" not in plain


def test_journald_is_known_by_the_device_and_inode_of_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        place = os.fstat(stream.fileno())
        journal = f"{place.st_dev}:{place.st_ino}"
        other = f"{place.st_dev}:{place.st_ino + 1}"
        assert log.detect({"JOURNAL_STREAM": journal}) == "journal"
        assert log.detect({"JOURNAL_STREAM": other}) == "json"
        assert log.detect({}) == "json"


def test_a_closed_stderr_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" info auto 2>&-', sys.executable, PROGRAM],
        cwd=ROOT,
        check=False,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0


def test_an_unknown_format_is_the_programmers_error() -> None:
    with pytest.raises(ValueError, match="'xml' is no log format"):
        log.configure("info", "xml")


@pytest.mark.parametrize("format_", ["text", "json", "journal"])
def test_what_would_turn_or_overwrite_a_line_is_escaped(format_: str) -> None:
    program = PROGRAM.partition("logger.debug")[0]
    program += 'logger.info("a\\x1b[2Jb", link="e\\u202eth", more="x \\x9b\\u2066")\n'
    done = subprocess.run(
        [*RUN, program, "info", format_],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * PATIENCE,
    )
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    if format_ == "json":
        told = json.loads(line)
        assert (told["event"], told["link"], told["more"]) == (
            "a\x1b[2Jb",
            "e\u202eth",
            "x \x9b\u2066",
        )
    assert "\\u202e" in line


def test_another_level_holds_from_the_next_message_on() -> None:
    done = subprocess.run(
        [*RUN, CHANGED],
        cwd=ROOT,
        env=plain(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60 * PATIENCE,
    )
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(each["event"], each["level"]) for each in told] == [
        ("error", "error"),
        ("debug", "debug"),
        ("debug", "error"),
        ("debug", "warning"),
    ]
