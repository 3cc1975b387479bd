"""lvsd itself in a host of the lab, started as systemd would start it."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.lab.program import Program, start
from lvsd.lab.settings import with_control
from lvsd.lab.wait import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.lab.namespace import Namespace

READY_TIMEOUT_S = 15.0 * PATIENCE


@dataclass(frozen=True, slots=True)
class Daemon(Program):
    """A running lvsd; ``control`` is its control socket, ``config_file`` what it has read."""

    control: Path
    config_file: Path


def lvsd(namespace: Namespace, config: str, name: str = "lvsd") -> Daemon:
    """Start lvsd with this configuration and return when it says that it is ready.

    Where ``config`` names no control socket, one in the host's directory is written into it.
    ``name`` is that of its files, for a second daemon in the same host. Raise KernelError, with
    the end of the log, when the daemon ends instead.
    """
    config_file = namespace.directory / f"{name}.toml"
    text, control = with_control(config, namespace.directory / f"{name}.sock")
    config_file.write_text(text, encoding="utf-8")
    notify = namespace.directory / f"{name}.notify"
    notify.unlink(missing_ok=True)
    # A path in the file system reaches across network namespaces; an abstract one would not.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(notify))
        ready.settimeout(0.05)
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("WATCHDOG_")
        }
        environment["NOTIFY_SOCKET"] = str(notify)
        program = start(
            namespace,
            [sys.executable, "-m", "lvsd", "-c", config_file],
            name,
            env=environment,
        )
        daemon = Daemon(
            "lvsd", program.process, program.namespace, program.log_file, control, config_file
        )
        _wait_until_ready(daemon, ready)
    return daemon


def _wait_until_ready(daemon: Daemon, ready: socket.socket) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            message = ready.recv(4096)
        except TimeoutError:
            message = b""
        if b"READY=1" in message.split(b"\n"):
            return
        if daemon.process.poll() is not None:
            problem = f"it ended with status {daemon.process.returncode}"
        elif time.monotonic() > deadline:
            problem = f"it is not ready after {READY_TIMEOUT_S:.0f} s"
            daemon.stop()
        else:
            continue
        said = "\n".join(daemon.log.strip().splitlines()[-20:])
        raise KernelError(f"start lvsd in {daemon.namespace.name}", problem, f"it said: {said}")
