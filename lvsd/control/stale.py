"""The control socket that a dead daemon left: a file that nobody listens on."""

from __future__ import annotations

import errno
import socket
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PROBE_S: Final = 1.0


def remove_stale(path: Path) -> bool:
    """Remove a socket that nobody listens on; return whether there was one.

    Raise OSError when the path is anything else: EADDRINUSE if somebody listens there, EEXIST if
    it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return True
        except (BlockingIOError, TimeoutError):
            pass  # a full backlog: somebody listens, if slowly
    raise OSError(errno.EADDRINUSE, "another lvsd is listening there")
