"""The daemon that a command is for: where it listens, and what it answers."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.config.place import place
from lvsd.config.saving import gathered
from lvsd.control.client import ControlClient, default_path
from lvsd.errors import ControlError, LvsdError
from lvsd.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PATIENCE_S: Final = 300.0
"""How long a daemon may take over ten thousand services."""


class DaemonError(LvsdError):
    """There is no daemon, or it does not do what it was asked for."""

    exit_status = os.EX_UNAVAILABLE


class NotAllowedError(LvsdError):
    """The daemon does that only for root, and for the group lvsd."""

    exit_status = os.EX_NOPERM


def add_control(parser: argparse.ArgumentParser) -> None:
    """Have a command line say where the daemon listens."""
    parser.add_argument(
        "--control",
        type=Path,
        metavar="PATH",
        help="the daemon's control socket (default: what -c FILE says; without -c $LVSD_CONTROL, "
        "else /run/lvsd/control.sock)",
    )


def control_of(control: Path | None, config: Path | None) -> Path:
    """Return where the daemon listens; a broken configuration says that, too."""
    if control is not None:
        return control
    return default_path() if config is None else place(config).control


@contextmanager
def talking(control: Path) -> Iterator[ControlClient]:
    """Talk with a daemon in the block. Raise DaemonError or NotAllowedError if that cannot be."""
    try:
        with ControlClient(control, PATIENCE_S) as client:
            yield client
    except ControlError as error:
        told = str(error)
        if told.startswith("Permission denied"):
            raise NotAllowedError(told) from error
        if told.startswith("lvsd: no method"):
            told = f"the lvsd that runs is of another version, and has to be restarted ({told})"
        raise DaemonError(told) from error


def running(control: Path) -> dict[str, Any]:
    """Return a running daemon's state as a document (`lvsd.documents`). Raise DaemonError."""
    with talking(control) as client:
        return gathered(client.items("running"))


def say(*lines: str) -> None:
    """Write lines to stdout."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
