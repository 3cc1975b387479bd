"""Every error that lvsd raises, divided by who can mend it.

====================  =====================================  ===================
error                 who mends it                           exit status
====================  =====================================  ===================
`ConfigError`         the operator, in the configuration     78 (EX_CONFIG)
`UsageError`          whoever typed the command line         64 (EX_USAGE)
`KernelError`         the operator, on the machine           71 (EX_OSERR)
`PrivilegeError`      the operator, by root or capabilities  77 (EX_NOPERM)
`ControlError`        the client of the control socket       none: an answer
`PluginError`         the author of a plug-in                70 (EX_SOFTWARE)
====================  =====================================  ===================

A sender of packets can cause none of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class LvsdError(Exception):
    """The root of all errors that lvsd raises on purpose; its text is fit for an operator."""

    exit_status: ClassVar[int] = os.EX_SOFTWARE


class UsageError(LvsdError):
    """The command line asks for something that cannot be."""

    exit_status = os.EX_USAGE


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
    """The kernel refused, or lacks, what was asked of it."""

    exit_status = os.EX_OSERR

    def __init__(self, operation: str, error: OSError | str, remedy: str) -> None:
        reason = error if isinstance(error, str) else error.strerror or str(error)
        super().__init__(f"{operation}: {reason}; {remedy}")
        self.operation = operation
        self.remedy = remedy
        self.errno = None if isinstance(error, str) else error.errno


class PrivilegeError(KernelError):
    """The process lacks a capability."""

    exit_status = os.EX_NOPERM


class ControlError(LvsdError):
    """A request over the control socket cannot be carried out; the text is the answer."""


class PluginError(LvsdError):
    """A third party's scheduler or forwarder breaks its contract."""
