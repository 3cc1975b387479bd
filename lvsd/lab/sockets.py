"""Which ports TCP listens on in a network namespace, by sock_diag(7).

The kernel walks the listening sockets only: a tenth of a millisecond. For /proc/net/tcp it walks
the whole table of connections, of which a machine has one for all namespaces: 5 to 15 ms.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_HEADER: Final = struct.Struct("=IHHII")
_QUESTION: Final = struct.Struct("=BBxxI48x")  # inet_diag_req_v2
_ANSWER: Final = struct.Struct("=BBxx2s62xI")  # inet_diag_msg
_RECEIVE: Final = 1 << 16

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_TCP_LISTEN: Final = 10


class Open(NamedTuple):
    """A socket that listens; ``inode`` is what a process's descriptor is called by."""

    port: int
    inode: int


def listening() -> frozenset[Open]:
    """Return the sockets that listen where this thread is.

    Where the kernel knows no such question, read what /proc lists. Raise OSError.
    """
    try:
        return frozenset(each for family in _FAMILIES for each in _asked(family))
    except OSError:
        return listed()


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


def _asked(family: int) -> Iterator[Open]:
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 1 << _TCP_LISTEN)
    header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + question)
        while True:
            data = kernel.recv(_RECEIVE)
            at = 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = -int.from_bytes(data[at + 16 : at + 20], "little", signed=True)
                    raise OSError(code, os.strerror(code))
                _, _, port, inode = _ANSWER.unpack_from(data, at + _HEADER.size)
                yield Open(int.from_bytes(port, "big"), inode)
                at += (length + 3) & ~3
