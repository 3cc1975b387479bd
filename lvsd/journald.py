"""What journald wants of a program's stderr: a line's priority at its beginning (sd-daemon(3))."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""syslog(3)'s priority of each level."""


def is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether stderr is journald's: JOURNAL_STREAM is its device and inode (systemd.exec).

    The variable alone does not say so, as children inherit it with another stderr.
    """
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def marked(line: str, level: str) -> str:
    """Return a line for stderr: with its priority if that is journald's, else as it is."""
    return f"<{PRIORITIES[level]}>{line}" if is_journal() else line
