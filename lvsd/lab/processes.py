"""Ending processes: those that were started here, and whatever else lives in a namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lvsd.net.namespaces import NETNS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

GRACE_S = 3.0
"""From SIGTERM to SIGKILL."""

SWEEP_S = 0.02
"""Between two looks at what still runs."""

Identity: TypeAlias = tuple[int, int]
"""A namespace as the kernel knows it: device and inode."""


def end(processes: Iterable[subprocess.Popen[Any]], grace_s: float = GRACE_S) -> None:
    """End child processes, newest first: SIGTERM to all, SIGKILL to those still there."""
    living = [process for process in reversed(list(processes)) if process.poll() is None]
    for process in living:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in living:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def inside(namespaces: Iterable[str]) -> list[int]:
    """Return the ids of all processes in the named network namespaces, but not our own."""
    wanted = _identities(namespaces)
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _namespace_of(pid) in wanted]


def sweep(namespaces: Iterable[str]) -> None:
    """End every process in the named network namespaces, whoever started it.

    A process is signalled through a descriptor that was opened before it was looked at: a
    process id that was given anew in between is never hit.
    """
    names = list(namespaces)
    wanted = _identities(names)
    deadline = time.monotonic() + GRACE_S
    while pids := inside(names):
        late = time.monotonic() > deadline
        for pid in pids:
            _signal(pid, wanted, signal.SIGKILL if late else signal.SIGTERM)
        if late:
            break
        time.sleep(SWEEP_S)


def _signal(pid: int, wanted: Container[Identity], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if _namespace_of(pid) in wanted:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _identities(namespaces: Iterable[str]) -> set[Identity]:
    found = set()
    for name in namespaces:
        with contextlib.suppress(FileNotFoundError):
            status = (NETNS / name).stat()
            found.add((status.st_dev, status.st_ino))
    return found


def _namespace_of(pid: int) -> Identity | None:
    try:
        status = Path(f"/proc/{pid}/ns/net").stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return status.st_dev, status.st_ino
