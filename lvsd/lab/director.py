"""lvsd itself in a host of the lab, started as systemd would start it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvsd.lab.notify import start_and_wait
from lvsd.lab.program import Program
from lvsd.lab.settings import completed

if TYPE_CHECKING:
    from lvsd.lab.namespace import Namespace


@dataclass(frozen=True, slots=True)
class Daemon(Program):
    """A running lvsd; ``control`` is its control socket, ``config_file`` what it has read."""

    control: Path
    config_file: Path

    @property
    def engine(self) -> int:
        """The process that moves the packets. Raise OSError or ValueError when there is none."""
        return _child(_child(self.process.pid))


def _child(process: int) -> int:
    """Return the one child of a process."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
    (child,) = children
    return int(child)


def lvsd(namespace: Namespace, config: str, name: str = "lvsd") -> Daemon:
    """Start lvsd with this configuration and return when it says that it is ready.

    Where ``config`` names no control socket, one in the host's directory is written into it.
    One that says nothing of ``hold_s`` gets 0, as each daemon of a host is to begin anew. ``name``
    is that of its files, for a second daemon in the same host: ``name``.pid has its process id.
    Raise KernelError, with the end of the log, when the daemon ends instead.
    """
    config_file = namespace.directory / f"{name}.toml"
    text, control = completed(config, namespace.directory / f"{name}.sock")
    config_file.write_text(text, encoding="utf-8")
    program = start_and_wait(namespace, [sys.executable, "-m", "lvsd", "-c", config_file], name)
    pid_file = namespace.directory / f"{name}.pid"
    pid_file.write_text(f"{program.process.pid}\n", encoding="ascii")
    return Daemon(
        "lvsd", program.process, program.namespace, program.log_file, control, config_file
    )
