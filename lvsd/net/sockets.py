"""Which ports TCP listens on in this thread's network namespace, by sock_diag(7).

The kernel walks the listening sockets only: a millisecond. For /proc/net/tcp it walks the whole
table of connections, of which a machine has one for all namespaces: 5 to 30 ms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from lvsd.net.families import INET, INET6

_TCP_LISTEN: Final = 10


class Open(NamedTuple):
    """A socket that listens; ``inode`` is what a process's descriptor is called by."""

    port: int
    inode: int


def listening() -> frozenset[Open]:
    """Return the sockets that listen here; without sock_diag, those in /proc. Raise OSError."""
    from lvsd.net.pyroute2_parts import DiagSocket, NetlinkError  # noqa: PLC0415 - it takes time

    try:
        with DiagSocket() as kernel:
            found = [
                each
                for family in (INET, INET6)
                for each in kernel.get_sock_stats(family=family, states=1 << _TCP_LISTEN)
            ]
    except (NetlinkError, OSError):
        return listed()
    return frozenset(Open(each["idiag_sport"], each["idiag_inode"]) for each in found)


def listed() -> frozenset[Open]:
    """Return the same from the files in /proc. Raise OSError."""
    state = f"{_TCP_LISTEN:02X}"
    files = [Path(f"/proc/thread-self/net/tcp{version}") for version in ("", "6")]
    rows = [
        row.split()
        for file in files
        if file.exists()
        for row in file.read_text("ascii").splitlines()[1:]
    ]
    return frozenset(
        Open(int(row[1].rpartition(":")[2], 16), int(row[9])) for row in rows if row[3] == state
    )
