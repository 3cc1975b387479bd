"""With too little memory a command says so in one line, whatever of it fails to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.entry import is_memory_short
from lvsd.lab.wait import PATIENCE

ROOT = Path(__file__).parents[2]
LIMITS_KB = range(16_000, 40_001, 2_000)
"""Around what Python itself takes, and what the commands load."""

LVSADM = "import sys; from lvsd.entry import lvsadm; sys.exit(lvsadm())"
COMMANDS = {
    "lvsd -t": (["-m", "lvsd", "-t", "-c", "packaging/lvsd.toml"], os.EX_OSERR),
    "lvsd explain": (["-m", "lvsd", "explain"], os.EX_OSERR),
    "lvsadm": (["-c", LVSADM, "-Ln", "--control", "/nonexistent/control.sock"], 1),
}


def limited(limit_kb: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with so much address space, with which it can start at least."""
    return subprocess.run(
        ["prlimit", f"--as={limit_kb << 10}", sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 * PATIENCE,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_however_little_there_is_the_line_is_clear(command: str) -> None:
    arguments, status = COMMANDS[command]
    short = 0
    for limit in LIMITS_KB:
        if limited(limit, "-c", "import lvsd.entry").returncode:
            continue
        done = limited(limit, *arguments)
        if "emory" in done.stderr:
            short += 1
            assert (limit, done.returncode) == (limit, status)
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("lvs")]
            assert "give it more memory" in line
        assert "Traceback" not in done.stderr
        assert "error in lvsd itself" not in done.stderr
    assert short


def test_an_error_with_memory_left_is_what_it_says() -> None:
    assert not is_memory_short(ImportError("no such module"))
    assert is_memory_short(MemoryError())
