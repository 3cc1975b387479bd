"""``lvsd diff``: shows what a reload would change, without changing anything.

The file is read here, so it may be one that the daemon itself cannot read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.assembly import wanted_of
from lvsd.changing.daemon import add_control, control_of, running, say
from lvsd.config.differences import differences
from lvsd.config.load import load
from lvsd.documents import whole
from lvsd.printable import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG: Final = "lvsd diff"
DIFFERENT: Final = 1
DESCRIPTION: Final = (
    "Show what a reload with a file would change in a running lvsd, a line for each change. That "
    "includes what lvsadm has changed: a reload would undo it. Nothing is changed. The exit status "
    "is 0 if nothing would change, and 1 if something would."
)


def main(argv: Sequence[str]) -> int:
    """Print what differs; return 0 if nothing does, else 1. Raise ConfigError or DaemonError."""
    parser = Parser(prog=PROG, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        *("-c", "--config"), type=Path, metavar="FILE", required=True, help="the new configuration"
    )
    add_control(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    config = load(options.config)
    document = whole(wanted_of(config), config)
    found = list(differences(running(control_of(options.control, options.config)), document))
    if options.json:
        say(to_json({"file": str(options.config), "changes": [each.as_json() for each in found]}))
    else:
        say(*(each.text for each in found))
    return DIFFERENT if found else os.EX_OK
