"""Who is at the other end of the control socket, and what they may do (unix(7))."""

from __future__ import annotations

import grp
import os
import socket
import struct
from contextlib import suppress
from typing import Final, NamedTuple

GROUP: Final = "lvsd"
"""Members of this group may change what lvsd does, as root may. It need not exist."""

_UCRED: Final = struct.Struct("@iII")
_PEER_GROUPS: Final = 59
"""SO_PEERGROUPS of Linux 4.13, which Python does not name."""
_MOST_BYTES: Final = 1024
"""The longest option that Python reads; if somebody has more groups, only the first counts."""
_GID: Final = struct.Struct("@I")


class Peer(NamedTuple):
    """A process as it was when it connected; its pid is 0 where this pid namespace has none."""

    pid: int
    uid: int
    groups: frozenset[int]

    @property
    def may_change(self) -> bool:
        """Whether it is root, whoever lvsd runs as, or a member of the group."""
        return self.uid in {0, os.geteuid()} or group() in self.groups

    def __str__(self) -> str:
        return f"uid {self.uid}, process {self.pid}"


def group() -> int | None:
    """Return the number of the group, None if there is no such group."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except (KeyError, OSError):
        return None


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected. Raise OSError."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(found)
    groups = b""
    with suppress(OSError):
        groups = connection.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_BYTES)
    return Peer(pid, uid, frozenset({gid, *(each for (each,) in _GID.iter_unpack(groups))}))
