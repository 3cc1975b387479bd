"""Starting a program as systemd would: it is up when it says READY=1 (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.program import Program, start
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvsd.lab.namespace import Namespace

READY_TIMEOUT_S = 15.0 * PATIENCE
LOG_LINES = 20


class Starting:
    """A program that was started and may not be ready yet; `wait` or `close` has to follow."""

    def __init__(self, program: Program, ready: socket.socket, *, may_end: bool) -> None:
        self._program = program
        self._ready = ready
        self._may_end = may_end

    def wait(self) -> Program:
        """Return the program when it says that it is ready, or has ended if it may.

        Raise KernelError, with the end of its log, when it ends otherwise or takes too long.
        """
        program = self._program
        with self._ready:
            problem = _problem(program, self._ready, may_end=self._may_end)
        if problem:
            program.stop()
            said = "\n".join(program.log.strip().splitlines()[-LOG_LINES:])
            raise KernelError(
                f"start lvsd in {program.namespace.name}", problem, f"it said: {said}"
            )
        return program

    def close(self) -> None:
        """Wait for it no longer. Harmless after `wait`."""
        self._ready.close()


def begin(
    namespace: Namespace, argv: Sequence[str | Path], name: str, *, may_end: bool = False
) -> Starting:
    """Start a program that says when it is ready; do not wait for that.

    With ``may_end`` it may as well end with status 0, its work done. ``name`` is that of its
    files. Raise KernelError.
    """
    path = namespace.directory / f"{name}.notify"
    path.unlink(missing_ok=True)
    # A path in the file system reaches across network namespaces; an abstract one would not.
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        ready.bind(str(path))
        ready.settimeout(0.05)
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("WATCHDOG_")
        }
        environment["NOTIFY_SOCKET"] = str(path)
        program = start(namespace, argv, name, env=environment)
    except BaseException:
        ready.close()
        raise
    return Starting(program, ready, may_end=may_end)


def start_and_wait(
    namespace: Namespace, argv: Sequence[str | Path], name: str, *, may_end: bool = False
) -> Program:
    """Start a program and return when it says that it is ready, see `begin` and `Starting.wait`.

    Raise KernelError.
    """
    return begin(namespace, argv, name, may_end=may_end).wait()


def _problem(program: Program, ready: socket.socket, *, may_end: bool) -> str:
    """Wait, and return why the program is not up; nothing if it is."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        status = program.process.poll()
        try:
            if b"READY=1" in ready.recv(4096).split(b"\n"):
                return ""
        except TimeoutError:
            if status == 0 and may_end:
                return ""
            if status is not None:
                return f"it ended with status {status}"
    return f"it is not ready after {READY_TIMEOUT_S:.0f} s"
