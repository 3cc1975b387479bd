"""``lvsd upgrade``: the daemon goes on with the code that is installed now, without a restart."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any, Final

from lvsd import __version__
from lvsd.arguments import Parser
from lvsd.changing.daemon import add_options, control_of, say, talking
from lvsd.printable import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG: Final = "lvsd upgrade"
DESCRIPTION: Final = (
    "Have a running lvsd go on with the code that is installed now: a new version, in the same "
    "process. Connections go on, and new ones wait for a moment. What the new code refuses changes "
    "nothing."
)


def main(argv: Sequence[str]) -> int:
    """Upgrade and say what came of it; return 0. Raise DaemonError where nothing did."""
    parser = Parser(prog=PROG, description=DESCRIPTION, allow_abbrev=False)
    how = add_options(parser)
    how.add_argument(
        "--probe",
        action="store_true",
        help=SUPPRESS,  # for lvsd itself: whether this code takes what stdin has
    )
    options = parser.parse_args(argv)
    if options.probe:
        return _probe()
    with talking(control_of(options.control, options.config)) as client:
        told = client.call("upgrade")
    if options.json:
        say(to_json(told))
    elif not options.quiet:
        say(_sentence(told))
    return os.EX_OK


def _sentence(told: dict[str, Any]) -> str:
    return (
        f"lvsd {told['before']} -> {told['after']}: {told['connections']} connections go on, "
        f"packets waited for {told['pause_ms']} ms"
    )


def _probe() -> int:
    """Answer the lvsd that is to be upgraded."""
    from lvsd import preparing  # noqa: F401, PLC0415 - a start needs it, too
    from lvsd.daemon import examine, lacking  # noqa: PLC0415 - it is what is to be tried

    refusal = examine(sys.stdin.buffer.read()) or lacking()
    sys.stdout.write(to_json({"version": __version__, "refusal": refusal}) + "\n")
    return os.EX_OK
