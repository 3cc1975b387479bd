"""``lvsadm save --toml``: what runs, as a configuration that loads to the same.

Exit status: 0; 1 the daemon cannot be reached, what runs cannot be said in a configuration, or it
cannot be written; 2 the command line is wrong.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from lvsd.control.client import ControlClient
from lvsd.control.own_commands import Parser
from lvsd.errors import LvsdError
from lvsd.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

FAILED: Final = 1
INTERRUPTED: Final = 130


def main(words: Sequence[str]) -> int:
    """Carry out a command line that begins with ``save``; return the status. Raise UsageError."""
    options = _parser().parse_args(list(words[1:]))
    try:
        _save(options)
    except LvsdError as error:
        return _failed(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        # The interpreter must not try to write once more what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _failed(f"the output cannot be written: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _parser() -> Parser:
    parser = Parser(
        "save",
        "Write what runs as a configuration; `lvsadm -S` writes ipvsadm's commands.",
        "0 done; 1 lvsd cannot be reached, or what runs cannot be written; 2 usage.",
    )
    parser.add_argument("--toml", action="store_true", required=True, help="as lvsd.toml")
    parser.add_argument("-o", "--output", metavar="FILE", help="to this file, not to stdout")
    return parser


def _save(options: argparse.Namespace) -> None:
    """Raise LvsdError or OSError."""
    from lvsd.config.saving import checked_text, gathered, put  # noqa: PLC0415 - a listing needs none

    with ControlClient(options.control) as client:
        text = checked_text(gathered(client.items("running")))
    if options.output is not None:
        put(text, options.output)
        return
    sys.stdout.write(text)
    sys.stdout.flush()


def _failed(why: str) -> int:
    sys.stderr.write("".join(f"{printable(line)}\n" for line in why.splitlines()))
    return FAILED
