"""The kernel's own account of an NFQUEUE: who reads it, how many wait, how many were lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from lvsd.errors import KernelError

OURS: Final = "lvsd"
"""The name of lvsd's first process."""

OUR_CHILDREN: Final = "lvsd-"
"""How the names of its others begin."""

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

    Of lvsd it is the process to talk to, not the engine, which is a child of its child; but for an
    engine that lost it.
    """
    process = port
    try:
        if not is_orphans(port):
            process = _supervisor(port)
        return f" (probably {_status(process, 'Name')}, pid {process})"
    except (OSError, ValueError):
        return ""


def is_orphans(port: int) -> bool:
    """Whether a netlink port probably is that of an engine of lvsd's that lost its supervisor."""
    try:
        if not _status(port, "Name").startswith(OUR_CHILDREN):
            return False
    except (OSError, ValueError):
        return False
    try:
        return _status(_supervisor(port), "Name") != OURS
    except (OSError, ValueError):  # whoever inherited it is out of sight
        return True


def _supervisor(process: int) -> int:
    """Return the first process that is none of lvsd's children, from one upwards.

    Raise OSError, or ValueError.
    """
    while _status(process, "Name").startswith(OUR_CHILDREN):
        process = int(_status(process, "PPid"))
    return process


def _status(process: int, key: str) -> str:
    """Return what the kernel says of a process. Raise OSError, or ValueError without that key."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    raise ValueError(f"no {key} in the status of process {process}")
