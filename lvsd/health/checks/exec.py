"""``type = "exec"``: a program of one's own decides, such as a Nagios plug-in.

``command`` is run as it stands, by no shell, with ``{address}`` and ``{port}`` replaced in its
arguments, and the same in the environment as LVSD_ADDRESS and LVSD_PORT. Its exit status decides
(Monitoring Plugins Development Guidelines, "Plugin Return Codes"): 0 is well, 1 is a warning and
well unless ``warning_is_up`` is false, everything else is not, death by a signal included. The
first line that it prints is the reason.

It runs as lvsd does: as root, with lvsd's capabilities, in the directory ``/``; of the environment
it is given PATH, HOME, LANG and TZ. It is a process group of its own, which is killed when the
program ends or its time is up, so that nothing that it started is left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, cast

from lvsd.health.base import Check, Kind, Option, UnhealthyError
from lvsd.health.checks.talk import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvsd.health.base import Target

OK: Final = 0
WARNING: Final = 1

MOST_KEPT: Final = 4096
"""Bytes of the output that are kept; the rest is read and forgotten."""

_PART: Final = 1 << 16

_PASSED: Final = ("PATH", "HOME", "LANG", "TZ")


class Exec(Check):
    """Runs a program."""

    name = "exec"
    needs_port = False
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "command",
            Kind.COMMAND,
            'a program and its arguments such as ["/usr/bin/check_ssh", "{address}"]',
            is_required=True,
        ),
        Option("warning_is_up", Kind.SWITCH, "whether exit status 1 is well", True),
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        program = values["command"][0]
        if not os.access(program, os.X_OK) or Path(program).is_dir():
            raise ValueError(f"command: {program} is no program that can be run")

    async def probe(self, target: Target) -> str:
        """Return the first line of what it prints. Raise UnhealthyError, OSError."""
        said = {"address": target.address, "port": str(target.port)}
        program, *words = self.values["command"]
        for name, value in said.items():
            words = [word.replace(f"{{{name}}}", value) for word in words]
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        ours = {f"LVSD_{name.upper()}": value for name, value in said.items()}
        process = _Process([program, *words], passed | ours)
        try:
            status = await process.ended
        finally:
            process.close()
        line = quoted(bytes(process.output).lstrip().partition(b"\n")[0])
        if status == OK or (status == WARNING and self.values["warning_is_up"]):
            return line or f"exit status {status}"
        how = f"exit status {status}" if status >= 0 else f"killed by {_signal(-status)}"
        raise UnhealthyError(f"{how}: {line}" if line else how)


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class _Process:
    """A program that runs; ``ended`` is its exit status to come, ``output`` how its output begins.

    The loop waits for its pidfd: asyncio's own subprocesses have a thread each in Python 3.11.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self.output = bytearray()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        self._pipe = cast("IO[bytes]", self._process.stdout)
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self._kill()
            self._pipe.close()
            self._process.wait()
            raise
        os.set_blocking(self._pipe.fileno(), False)
        self._loop.add_reader(self._pipe.fileno(), self._read)
        self._loop.add_reader(self._pidfd, self._end)

    def close(self) -> None:
        """Let go of it; if it still runs, kill it, and all that it started."""
        self._loop.remove_reader(self._pidfd)
        self._close_pipe()
        self._kill()
        if self._process.poll() is None:
            self._loop.add_reader(self._pidfd, self._reap)
        else:
            os.close(self._pidfd)

    def _kill(self) -> None:
        """Kill the group. Its number stays its own until the process is reaped."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        """Read once; the end closes the pipe."""
        try:
            data = os.read(self._pipe.fileno(), _PART)
        except BlockingIOError:
            return
        if data:
            self.output += data[: MOST_KEPT - len(self.output)]
        else:
            self._close_pipe()

    def _close_pipe(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()

    def _end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if not self._pipe.closed:
            self._read()
        self._kill()
        if not self.ended.done():
            self.ended.set_result(self._process.wait())

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
