"""The kernel's own account of an NFQUEUE: who reads it, how many wait, how many were lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from lvsd.errors import KernelError

OUR_CHILDREN: Final = "lvsd-"
"""How the names of lvsd's processes begin but that of the first one."""

INIT: Final = 1

_STATISTICS: Final = Path("/proc/net/netfilter/nfnetlink_queue")


class QueueStatistics(NamedTuple):
    """One line of /proc/net/netfilter/nfnetlink_queue (nfnetlink_queue.c, seq_show)."""

    queue: int
    port: int
    """Netlink port of the reader; for the first netlink socket of a process its pid."""
    waiting: int
    """Packets without a verdict."""
    copy_mode: int
    copy_range: int
    queue_dropped: int
    """Packets dropped since more than the queue's length were waiting."""
    user_dropped: int
    """Packets dropped since the reader's receive buffer was full."""
    received: int
    """Packets ever queued, as a serial number of 32 bits."""


def queue_statistics(queue: int) -> QueueStatistics | None:
    """Return the kernel's own account of a queue; None when nobody reads it.

    Counted from when the queue was opened. Raise KernelError as `queues` does.
    """
    return next((account for account in queues() if account.queue == queue), None)


def queues() -> list[QueueStatistics]:
    """Return the account of every queue of this network namespace that somebody reads.

    Empty when the file may not be read: it belongs to root. Raise KernelError when the kernel
    has no NFQUEUE.
    """
    try:
        lines = _STATISTICS.read_text(encoding="ascii").splitlines()
    except PermissionError:
        return []
    except OSError as error:
        raise KernelError(
            f"read {_STATISTICS}",
            error,
            "the kernel must have nfnetlink_queue: `modprobe nfnetlink_queue`",
        ) from error
    return [QueueStatistics(*(int(field) for field in line.split()[:8])) for line in lines]


def program_of(port: int) -> str:
    """Return the program that probably has a netlink port: the first one's number is the pid.

    Of lvsd it is the process to talk to, not the engine, which is a child of its child.
    """
    process = port
    try:
        while (name := _status(process, "Name")).startswith(OUR_CHILDREN):
            parent = int(_status(process, "PPid"))
            if parent == INIT:  # an orphan
                break
            process = parent
    except (OSError, ValueError):
        return ""
    return f" (probably {name}, pid {process})"


def _status(process: int, key: str) -> str:
    """Return what the kernel says of a process. Raise OSError, or ValueError without that key."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    raise ValueError(f"no {key} in the status of process {process}")
