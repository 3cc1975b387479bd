"""How these commands reach the daemon, and what they make of its answers."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.config.place import place
from lvsd.config.saving import gathered
from lvsd.control.client import ControlClient, default_path
from lvsd.errors import ConfigError, ControlError, LvsdError
from lvsd.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PATIENCE_S: Final = 300.0
"""How long a daemon may take over ten thousand services."""


class DaemonError(LvsdError):
    """The daemon cannot be reached, or refuses."""

    exit_status = os.EX_UNAVAILABLE


class NotAllowedError(LvsdError):
    """Only root and the group lvsd may do that."""

    exit_status = os.EX_NOPERM


def add_control(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the daemon listens."""
    parser.add_argument(
        "--control",
        type=Path,
        metavar="PATH",
        help="the daemon's control socket (default: what -c FILE says; without -c $LVSD_CONTROL, "
        "else /run/lvsd/control.sock)",
    )


def add_options(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add the options of a command that has the daemon do something; return how it may answer."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the file that the daemon runs with"
    )
    add_control(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="as JSON")
    how.add_argument(
        *("-q", "--quiet"), action="store_true", help="say nothing that the daemon's log says, too"
    )
    return how


def control_of(control: Path | None, config: Path | None) -> Path:
    """Return the path of the control socket; a configuration with errors tells that, too.

    Raise ConfigError where there is none.
    """
    if config is not None and not config.exists():
        why = f"{config}: there is no such file, expected lvsd's own"
        raise ConfigError(config, [why])
    if control is not None:
        return control
    return default_path() if config is None else place(config).control


@contextmanager
def talking(control: Path) -> Iterator[ControlClient]:
    """Connect to the daemon for the block. Raise DaemonError or NotAllowedError if that fails."""
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
