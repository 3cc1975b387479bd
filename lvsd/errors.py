"""Every error that lvsd raises, divided by who can fix it.

====================  =====================================  ===================
error                 who fixes it                           exit status
====================  =====================================  ===================
`ConfigError`         the operator, in the configuration     78 (EX_CONFIG)
`UsageError`          whoever typed the command line         64 (EX_USAGE)
`DataError`           whoever made the file to be read       65 (EX_DATAERR)
`InputError`          whoever named the file to be read      66 (EX_NOINPUT)
`OutputError`         whoever named the file to be written   73 (EX_CANTCREAT)
`KernelError`         the operator, on the machine           71 (EX_OSERR)
`PrivilegeError`      the operator, by root or capabilities  77 (EX_NOPERM)
`ControlError`        the client of the control socket       none: an answer
`PluginError`         the author of a plug-in                70 (EX_SOFTWARE)
`WireError`           nobody: an engine is started anew      70 (EX_SOFTWARE)
====================  =====================================  ===================

A sender of packets can cause none of them.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_ROOM: Final = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n`, LimitNOFILE=)",
    errno.ENFILE: "raise the limit of open files (`sysctl fs.file-max`)",
    errno.ENOMEM: "give it more memory",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
}
"""What helps whatever is done, by errno."""


class LvsdError(Exception):
    """The root of all errors that lvsd raises on purpose; its text is fit for an operator."""

    exit_status: ClassVar[int] = os.EX_SOFTWARE


class UsageError(LvsdError):
    """The command line asks for something that cannot be."""

    exit_status = os.EX_USAGE


class DataError(LvsdError):
    """A file that was given to read is not what it should be."""

    exit_status = os.EX_DATAERR


class InputError(LvsdError):
    """A file that was given to read cannot be read."""

    exit_status = os.EX_NOINPUT

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: cannot be read: {error.strerror or error}")


class OutputError(LvsdError):
    """What was asked for cannot be written there."""

    exit_status = os.EX_CANTCREAT

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written: {error.strerror or error}")


class ConfigError(LvsdError):
    """The configuration is wrong. Carries every problem found, in file order.

    Each problem is a finished line: ``file:line: key: what was wrong, what was expected``.
    """

    exit_status = os.EX_CONFIG

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.path = path
        self.problems = tuple(problems)


class KernelError(LvsdError):
    """The kernel refused, or lacks, what was asked of it.

    ``remedy`` is about what the operation needs; where room is short, another one is said.
    """

    exit_status = os.EX_OSERR

    def __init__(self, operation: str, error: OSError | str, remedy: str) -> None:
        if isinstance(error, OSError):
            remedy = _ROOM.get(error.errno or 0, remedy)
        reason = error if isinstance(error, str) else error.strerror or str(error)
        super().__init__(f"{operation}: {reason}; {remedy}")
        self.operation = operation
        self.reason = reason
        self.remedy = remedy
        self.errno = None if isinstance(error, str) else error.errno


class PrivilegeError(KernelError):
    """The process lacks a capability."""

    exit_status = os.EX_NOPERM


def environment_error(operation: str, error: OSError | MemoryError) -> KernelError:
    """Return the error that says what the machine refused in ``operation``: rights, or room."""
    if isinstance(error, MemoryError):
        return KernelError(operation, "out of memory", "give it more memory, or less to do")
    named = f"use {error.filename}" if error.filename else operation
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(named, error, "run lvsd as root")
    return KernelError(named, error, "see whether it can be done by hand")


def blames_environment(error: OSError) -> bool:
    """Return whether an error that nobody expected is the machine's refusal: rights, or room."""
    return error.errno in {errno.EPERM, errno.EACCES, errno.EROFS, *_ROOM}


class ControlError(LvsdError):
    """A request over the control socket cannot be carried out; the text is the answer.

    ``at`` is which command of a list is to blame, counted from 0; None: no particular one.
    ``code`` is that of an answer (`lvsd.control.protocol.Code`), empty where there was none.
    """

    at: int | None = None
    code: str = ""


class BusyError(ControlError):
    """It cannot be carried out at this moment, and nothing of it was."""


class LostError(BusyError):
    """Whoever was at it ended meanwhile, perhaps for that; nothing of it is left."""


class PluginError(LvsdError):
    """A third party's scheduler or forwarder breaks its contract."""


class WireError(LvsdError):
    """The other end of the socket pair between supervisor and engine says what it must not."""
