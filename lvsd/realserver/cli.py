"""The command ``lvsd realserver``: up, down, status, toa."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.errors import UsageError
from lvsd.realserver.settings import GUE_PORT, MODES, TUNNELS, WAYS, Settings
from lvsd.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE: Final = Path("/run/lvsd-realserver")
PROG: Final = "lvsd realserver"

DESCRIPTION = """\
Make this host a real server for DR or TUN: the virtual addresses on lo, no ARP for them, and for
TUN the outer header taken off. A real server for NAT needs none of this; for FULLNAT see
'lvsd realserver toa --help'.
"""


def main(argv: Sequence[str]) -> int:
    """Do what the command line says and return the exit status. Raise LvsdError."""
    try:
        return _main(argv)
    except Terminated as end:
        return end.exit_status


def _main(argv: Sequence[str]) -> int:
    if argv and argv[0] == "toa":
        from lvsd.realserver.toa.cli import main as toa  # noqa: PLC0415 - BPF for this one only

        return toa(list(argv[1:]))
    options = _parser().parse_args(argv)
    if options.command == "down":
        from lvsd.realserver.up import down  # noqa: PLC0415 - '--help' is quick

        return down(options.state, _say)
    return _status(options) if options.command == "status" else _up(options)


def _up(options: argparse.Namespace) -> int:
    settings = _settings(options)
    if options.print:
        from lvsd.realserver.by_hand import script  # noqa: PLC0415 - '--help' is quick

        sys.stdout.write(script(settings))
        return os.EX_OK
    from lvsd.realserver.up import up  # noqa: PLC0415 - '--help' is quick

    return up(settings, options.state, _say)


def _status(options: argparse.Namespace) -> int:
    from lvsd.realserver.status import status  # noqa: PLC0415 - '--help' is quick

    if options.mode is None and options.vip:
        raise UsageError("--vip needs --mode; without both it is asked what the last up said")
    asked = _settings(options) if options.mode else None
    return status(options.state, asked, _say, port=options.listen, as_json=options.json)


def _settings(options: argparse.Namespace) -> Settings:
    """Return what the options ask for. Raise UsageError."""
    try:
        return Settings.of(
            options.mode,
            options.vip,
            interface=options.interface,
            tunnel=options.tunnel,
            port=options.port,
            directors=options.directors,
            by=options.by,
            mss=options.mss,
        )
    except ValueError as error:
        raise UsageError(f"{error}; see '{PROG} {options.command} --help'") from error


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True
    )
    up = _command(commands, "up", "make this host a real server; the last one counts")
    _describe(up, required=True)
    up.add_argument("--print", action="store_true", help="only print the commands that do it")
    _command(commands, "down", "put everything back")
    status = _command(commands, "status", "say what is set, missing or different; 1 if any is")
    _describe(status, required=False)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument(
        "--listen", type=int, metavar="PORT", help="also see whether TCP is accepted there"
    )
    commands.add_parser("toa", help="show programs the client's address under FULLNAT")
    return parser


def _command(commands: argparse._SubParsersAction[Parser], name: str, text: str) -> Parser:
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.add_argument(
        "--state",
        type=Path,
        default=STATE,
        metavar="DIR",
        help="where it is written down what was changed (default %(default)s)",
    )
    return command


def _describe(command: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options that say what kind of real server it is."""
    add = command.add_argument
    add("--mode", choices=MODES, required=required, help="the director's way to here")
    add("--vip", action="append", default=[], metavar="ADDRESS", help="virtual address; again")
    add("--interface", default="lo", metavar="NAME", help="has them (default %(default)s)")
    tun = command.add_argument_group("with --mode tun")
    tun.add_argument("--tunnel", choices=TUNNELS, help="the director's tunnel (default ipip)")
    tun.add_argument("--port", type=int, metavar="N", help=f"of --tunnel gue (default {GUE_PORT})")
    tun.add_argument(
        "--from",
        dest="directors",
        action="append",
        metavar="ADDRESS",
        help="take tunnelled packets from this director only; again",
    )
    tun.add_argument(
        "--by",
        choices=WAYS,
        default="auto",
        help="who takes the outer header off: a device of the kernel, lvsd itself, or the first "
        "of them that can (default)",
    )
    tun.add_argument(
        "--mss",
        metavar="N|auto",
        help="lower the MSS of SYNs and SYN-ACKs from the virtual addresses, to N bytes or to what "
        "fits into the tunnel, so that uploads do; by nftables",
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
