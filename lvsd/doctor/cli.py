"""The command ``lvsd doctor``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

PROG: Final = "lvsd doctor"
PROBLEMS: Final = 1
"""The exit status when something keeps packets from getting through."""

MOST_PATIENT_S: Final = 60.0

DESCRIPTION: Final = """\
Say what keeps packets from getting through, and the command that fixes it. To be run on the
director, in its network namespace, beside the daemon or with its configuration alone. It asks
real servers by ARP, neighbour discovery, ICMP echoes and TCP SYNs, for three seconds at most, and
changes nothing.
"""


def main(argv: Sequence[str]) -> int:
    """Look at everything, say what was found; return 0 without problems, else 1. Raise LvsdError.

    A warning is no problem.
    """
    options = _parser().parse_args(argv)

    from lvsd.doctor.checks import CHECKS  # noqa: PLC0415 - '--help' is quick
    from lvsd.doctor.finding import Level  # noqa: PLC0415 - same reason
    from lvsd.doctor.gather import gather  # noqa: PLC0415 - same reason
    from lvsd.doctor.report import as_json, as_text, results  # noqa: PLC0415 - same reason

    found = results(CHECKS, gather(options.config, options.control, options.wait))
    if options.json:
        sys.stdout.write(json.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(as_text(found))
    problems = any(result.level == Level.PROBLEM for result in found)
    return PROBLEMS if problems else os.EX_OK


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the configuration; tells more than none"
    )
    parser.add_argument(
        "--control",
        type=Path,
        metavar="SOCKET",
        help="the daemon's control socket (default: the configuration's, or lvsadm's)",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help=f"for answers, up to three times (default 1, at most {MOST_PATIENT_S:.0f})",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _seconds(word: str) -> float:
    """Return a number of seconds to wait. Raise ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        seconds = float(word)
        if 0 < seconds <= MOST_PATIENT_S:
            return seconds
    raise argparse.ArgumentTypeError(f"{word!r} is no time of up to {MOST_PATIENT_S:.0f} s")
