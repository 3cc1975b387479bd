"""What every program of the lab has: a process, a log, a moment when it is ready."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvsd.errors import KernelError
from lvsd.lab import processes
from lvsd.lab.wait import PATIENCE, until
from lvsd.net import sockets

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from lvsd.lab.namespace import Namespace

START_TIMEOUT_S = 10.0 * PATIENCE
STOP_TIMEOUT_S = 10.0 * PATIENCE

PACKAGES = {"nginx": "nginx-light", "dnsmasq": "dnsmasq-base", "ip": "iproute2"}
"""Debian's package of a program, where it is named otherwise."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs in a host of the lab."""

    name: str
    process: subprocess.Popen[Any]
    namespace: Namespace
    log_file: Path

    @property
    def log(self) -> str:
        """What the program has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End the program by SIGTERM, later SIGKILL; return its exit status, -N for signal N."""
        processes.end([self.process], timeout_s)
        return self.process.wait()


def find(program: str) -> str:
    """Return the path of a program. Raise KernelError, naming its package, if it is missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if found is None:
        package = PACKAGES.get(program, program)
        raise KernelError(
            f"start {program}", "it is not installed", f"on Debian: apt-get install {package}"
        )
    return found


def start(
    namespace: Namespace, argv: Sequence[str | Path], log_name: str, **options: Any
) -> Program:
    """Start a program with its output in ``log_name``.log; do not wait for anything.

    ``options`` go to `Namespace.spawn`.
    """
    log_file = namespace.directory / f"{log_name}.log"
    with log_file.open("wb") as log:
        process = namespace.spawn(
            [find(str(argv[0])), *argv[1:]], stdout=log, stderr=log, **options
        )
    return Program(Path(argv[0]).name, process, namespace, log_file)


def wait_for_port(program: Program, *ports: int) -> None:
    """Return when the program listens on these ports of TCP.

    Looks into the socket table instead of connecting, which some servers take for a client.
    Raise KernelError, with the end of the log, when the program ends first or takes too long.
    """

    def settled() -> bool:
        return program.process.poll() is not None or listens(program, *ports)

    in_time = until(settled, START_TIMEOUT_S)
    status = program.process.poll()
    if in_time and status is None:
        return
    named = f"port{'s' * (len(ports) > 1)} {', '.join(map(str, ports))}"
    late = f"it does not listen on tcp {named} after {START_TIMEOUT_S:.0f} s"
    said = "; ".join(program.log.strip().splitlines()[-5:])
    raise KernelError(
        f"start {program.name} in {program.namespace.name}",
        late if status is None else f"it ended with status {status}",
        f"it said: {said or 'nothing'}",
    )


def listens(program: Program, *ports: int) -> bool:
    """Whether a program itself, or a child of its process, listens on all of these ports."""
    with program.namespace.entered():
        seen = [each for each in sockets.listening() if each.port in ports]
    if {each.port for each in seen} < {*ports}:
        return False
    pid = program.process.pid
    try:
        own = {
            descriptor.readlink().name
            for process in (pid, *_children(pid))
            for descriptor in Path(f"/proc/{process}/fd").iterdir()
        }
    except OSError:  # one just ended, or closed what we were looking at
        return False
    found = {each.port for each in seen if f"socket:[{each.inode}]" in own}
    return found == {*ports}


def _children(pid: int) -> list[str]:
    """Return the ids of a process's children; none on a kernel that does not list them."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text("ascii").split() if path.exists() else []
