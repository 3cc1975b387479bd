"""Command lines whose mistakes end as all others of lvsd do."""

from __future__ import annotations

import argparse
import sys
from typing import Final, NoReturn

from lvsd.errors import UsageError

HANDOVER: Final = "LVSD_HANDOVER"
"""The environment variable that names what an lvsd has handed over that executed this program."""


class AnsweredError(SystemExit):
    """The command line asked for help or the version, and has got it. ``status`` is the answer's.

    It is told from any other SystemExit, such as that of a plug-in.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with where to look."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Raise AnsweredError, once the message is written."""
        if message:
            sys.stderr.write(message)
        raise AnsweredError(status)
