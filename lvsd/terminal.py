"""The terminal that commands write to: colours and its width, or plain text in a pipe."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console

if TYPE_CHECKING:
    from typing import TextIO

PIPE_COLUMNS: Final = 80


class _Console(Console):
    """A console that lets its caller know when nobody reads any more."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError, where rich would exit with the status of a failure."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(file: TextIO | None = None) -> Console:
    """Return the console for stdout, or another file: plain and `PIPE_COLUMNS` wide in a pipe."""
    out = file or sys.stdout
    piped = not out.isatty() and "COLUMNS" not in os.environ
    return _Console(file=out, highlight=False, width=PIPE_COLUMNS if piped else None)
