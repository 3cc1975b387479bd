"""``lvsd save``: writes the running state as a configuration that loads to the same state."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.changing.daemon import add_control, control_of, running
from lvsd.config.saving import checked_text, put

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG: Final = "lvsd save"
DESCRIPTION: Final = (
    "Write the state of a running lvsd as a configuration, including all that lvsadm has changed. "
    "Comments of the file that it runs with are lost."
)


def main(argv: Sequence[str]) -> int:
    """Write the configuration; return 0.

    Raise DaemonError without a daemon, ConfigError if no configuration can express the state, and
    OutputError if the file cannot be written; the old file stays then.
    """
    parser = Parser(prog=PROG, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the file that the daemon runs with"
    )
    add_control(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file, not to stdout")
    options = parser.parse_args(argv)
    text = checked_text(running(control_of(options.control, options.config)))
    if options.output is None:
        sys.stdout.write(text)
    else:
        put(text, options.output)
    return os.EX_OK
