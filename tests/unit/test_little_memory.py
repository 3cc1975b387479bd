"""With too little memory a command says so in one line, whatever of it fails to load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from weakref import ref

import pytest

from lvsd import entry
from lvsd.entry import is_memory_short
from lvsd.lab.wait import PATIENCE

ROOT = Path(__file__).parents[2]
LIMITS_KB = range(16_000, 40_001, 2_000)
"""Around what Python itself takes, and what the commands load."""

BEGUN = "lvsd.entry is loaded"
START = """
import os, sys
from lvsd.entry import {0} as command
os.write(2, b"{1}\\n")
sys.exit(command())
"""
"""What is installed as a command, which says when it has its turn: before, with less memory, Python
itself fails in words of its own. Where that is differs from start to start by the addresses that
the kernel gives, so it is known of each start only."""

SPINNING_S, MOST_SPIN = 20, 2
"""Seconds of processor after which a process is ended, some 20 times what it takes; and of how many
of a command's that may be so. Where not even a number can be made while an exception unwinds,
Python 3.11 tries again for ever (exception_unwind in ceval.c), whosever code it is."""

ENOUGH = 2
"""How often in a row a command has had enough before more is not tried."""

COMMANDS = {
    "lvsd -t": (["lvsd", "-t", "-c", "packaging/lvsd.toml"], os.EX_OSERR),
    "lvsd explain": (["lvsd", "explain"], os.EX_OSERR),
    "lvsadm": (["lvsadm", "-Ln", "--control", "/nonexistent/control.sock"], 1),
}


def limited(limit_kb: int, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in so much address space."""
    start = START.format(command, BEGUN)
    return subprocess.run(
        [
            "prlimit",
            f"--as={limit_kb << 10}",
            f"--cpu={SPINNING_S}",
            "--core=0",
            sys.executable,
            "-c",
            start,
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 * PATIENCE,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_however_little_there_is_the_line_is_clear(command: str) -> None:
    arguments, status = COMMANDS[command]
    short = spun = enough = 0
    for limit in LIMITS_KB:
        done = limited(limit, *arguments)
        _, begun, said = done.stderr.rpartition(f"{BEGUN}\n")
        if not begun:
            continue
        if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            spun += 1
            continue
        enough = 0 if "emory" in said else enough + 1
        if not enough:
            short += 1
            assert (limit, done.returncode) == (limit, status)
            (line,) = [line for line in said.splitlines() if line.startswith("lvs")]
            assert "give it more memory" in line
        assert "Traceback" not in said
        assert "error in lvsd itself" not in said
        if short and enough == ENOUGH:
            break
    assert short
    assert spun <= MOST_SPIN


def test_what_a_failure_holds_is_given_back_before_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Held:
        """What takes the memory."""

    held: list[ref[Held]] = []
    told: list[bool] = []

    def fail() -> int:
        mine = Held()
        held.append(ref(mine))
        raise MemoryError

    monkeypatch.setattr(entry, "_lvsd", fail)
    monkeypatch.setattr(os, "write", lambda *_: told.append(held[0]() is None))
    assert entry.lvsd() == os.EX_OSERR
    assert told == [True]


def test_an_error_with_memory_left_is_what_it_says() -> None:
    assert not is_memory_short(ImportError("no such module"))
    assert is_memory_short(MemoryError())
