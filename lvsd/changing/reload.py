"""``lvsd reload``: makes the daemon read its configuration again, and prints the result."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.arguments import Parser
from lvsd.changing.daemon import DaemonError, add_options, control_of, say, talking
from lvsd.errors import ConfigError
from lvsd.printable import printable, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG: Final = "lvsd reload"
DESCRIPTION: Final = (
    "Make a running lvsd read its configuration again and apply all of it, or nothing if there is "
    "an error. What lvsadm has changed is undone. Connections go on."
)


def main(argv: Sequence[str]) -> int:
    """Reload and print what changed; return 0.

    Raise ConfigError with the errors of the file, DaemonError if the daemon cannot be reached or
    refuses.
    """
    parser = Parser(prog=PROG, description=DESCRIPTION, allow_abbrev=False)
    add_options(parser)
    options = parser.parse_args(argv)
    params = {} if options.config is None else {"file": str(options.config.absolute())}
    with talking(control_of(options.control, options.config)) as client:
        told = client.call("reload", **params)
    if options.json:
        say(to_json(told))
    if options.json or options.quiet:
        return _status(told)
    if told["problems"]:
        raise ConfigError(Path(told["file"]), told["problems"])
    if told["refusal"]:
        raise DaemonError(f"reload refused, nothing changed: {told['refusal']}")
    say(*(each["text"] for each in told["changes"]))
    if told["more_changes"]:
        say(f"and {told['more_changes']} more")
    say(f"{told['file']}: {told['result']}")
    if told["unfinished"]:
        unfinished = printable(f"lvsd: {told['unfinished']}")
        sys.stderr.write(f"{unfinished}\n")
    return _status(told)


def _status(told: dict[str, Any]) -> int:
    if told["problems"]:
        return os.EX_CONFIG
    if told["unfinished"]:
        return os.EX_OSERR
    return os.EX_UNAVAILABLE if told["refusal"] else os.EX_OK
