"""lvsd's commands by a fork of this process, which has loaded most of what they need.

A command that Python has to start for takes a third to two thirds of a second of a processor, most
of it to load modules; a fork takes a fortieth. What it does is the same: a process of its own,
with its own standard streams, in the namespace of a host.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, NoReturn, TextIO

from lvsd.cli import main
from lvsd.lab.namespace import RUN_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lvsd.lab import Namespace

CRASHED = 70
"""The exit status when a command raises, which it never does; the traceback is on stderr."""


def lvsd(host: Namespace, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``lvsd`` with these words in a host, to its end; return its status and what it said.

    Only from the main thread. Raise TimeoutExpired.
    """
    given = [str(word) for word in words]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _become(host, given, out, err)
        status = _ended(pid, given)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read())
    return subprocess.CompletedProcess(given, status, *said)


def _become(host: Namespace, words: list[str], out: TextIO, err: TextIO) -> NoReturn:
    """Be the command, and nothing of the tests."""
    status = CRASHED
    try:
        with open(os.devnull) as nothing:  # noqa: PTH123 - a descriptor is wanted
            for number, stream in enumerate((nothing, out, err)):
                os.dup2(stream.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - same
            for number, mode in enumerate("rww")
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for each in _handled():
            signal.signal(each, signal.SIG_DFL)
        with host.entered():
            status = main(words)
    except BaseException:  # noqa: BLE001 - whatever it is, the tests must not go on here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _handled() -> Iterator[signal.Signals]:
    """Yield the signals that would end the process but for the tests' own handlers."""
    for each in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(each) != signal.SIG_IGN:
            yield each


def _ended(pid: int, words: list[str]) -> int:
    """Wait for a child; return its exit status, -N for signal N. Raise TimeoutExpired."""
    descriptor = os.pidfd_open(pid)
    try:
        in_time = select.select([descriptor], [], [], RUN_TIMEOUT_S)[0]
        if not in_time:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not in_time:
        raise subprocess.TimeoutExpired(words, RUN_TIMEOUT_S)
    return status
