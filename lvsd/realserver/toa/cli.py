"""``lvsd realserver toa``: show programs the clients that a FULLNAT director names by TOA."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from lvsd.arguments import Parser
from lvsd.errors import UsageError
from lvsd.realserver.toa import prefixes, run
from lvsd.realserver.toa.cgroups import tree
from lvsd.realserver.toa.reader import DEFAULT_KIND, Kinds, Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.realserver.toa.cgroups import Tree
    from lvsd.realserver.toa.reader import Status

PROG: Final = "lvsd realserver toa"
NOT_UP: Final = 1
"""Exit status of `status` where nothing is attached, or not as it should be."""

_RESERVED_KINDS: Final = range(9)
"""End, NOP, MSS, window scale, SACK and timestamps among them (IANA, TCP option kinds)."""

_COUNTS: Final = {
    "read": "the client is known",
    "absent": "from a trusted address, without the option",
    "untrusted": "the option came from elsewhere and was ignored",
    "malformed": "the option said nothing sensible",
    "unfit": "an IPv6 client on an IPv4 socket, which cannot show it",
}


def main(argv: list[str]) -> int:
    """Do what the command line says and return the exit status. Raise LvsdError."""
    options = _parser().parse_args(argv)
    with tree() as cgroups:
        reader = Reader(cgroups)
        if options.command == "status":
            return _status(reader, as_json=options.json)
        if options.command == "down":
            return _down(cgroups, reader, options.cgroup)
        trusted = prefixes.parse(options.trusted)
        ipv6 = options.kind if options.kind_v6 is None else options.kind_v6
        kinds = Kinds(options.kind, ipv6)
        if options.command == "run":
            return run.run(cgroups, reader, trusted, kinds, _program(options.program))
        name = cgroups.name_of(options.cgroup)
        change = reader.up(name, trusted, kinds)
        _say(f"{name}: {change}, TOA is read from {', '.join(prefixes.texts(trusted))}")
    return os.EX_OK


def _down(cgroups: Tree, reader: Reader, given: str | None) -> int:
    if given is None:
        names = {status.cgroup for status in reader.status() if not run.is_alive(status.cgroup)}
    else:
        names = {cgroups.name_of(given)}
    gone = [f"{name}: TOA is no longer read" for name in sorted(names) if reader.down(name)]
    gone += [f"{name}: removed" for name in run.sweep(cgroups)]
    _say(*(gone or ["nothing was attached"]))
    return os.EX_OK


def _status(reader: Reader, *, as_json: bool) -> int:
    found = reader.status()
    missing = reader.missing()
    good = bool(found) and not missing and all(one.whole and one.current for one in found)
    if as_json:
        report = {"good": good, "missing": missing, "cgroups": [one.as_json() for one in found]}
        _say(json.dumps(report, indent=2))
    else:
        _say(*(line for one in found for line in _describe(one)))
        if not found:
            _say("nothing is attached")
        _say(*(f"missing: {text}" for text in missing))
    return os.EX_OK if good else NOT_UP


def _describe(status: Status) -> list[str]:
    kinds = status.kinds
    kind = f"kind {kinds.ipv4}" if kinds.ipv4 == kinds.ipv6 else f"kinds {kinds.ipv4}, {kinds.ipv6}"
    whole = " (all of the machine)" if status.cgroup == "/" else ""
    lines = [f"cgroup {status.cgroup}{whole}: {kind}, from {', '.join(status.trusted)}"]
    if not status.whole:
        lines.append("  a program is missing; `up` puts it back")
    elif not status.current:
        lines.append("  the programs are of another lvsd; `up` replaces them")
    lines += [
        f"  {getattr(status.counts, name):>10}  {name:<9}  {text}" for name, text in _COUNTS.items()
    ]
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Show the programs of this real server the clients that a FULLNAT director "
        "names by a TCP option (TOA): accept() and getpeername() return the client's address and "
        "port. No kernel module, no change of any program.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    up = commands.add_parser(
        "up", help="begin, or change the addresses; stays until `down`", allow_abbrev=False
    )
    _what(up)
    up.add_argument(
        "--cgroup",
        default="/",
        metavar="PATH",
        help="only for sockets created in this cgroup of v2 or below (default: all of the machine)",
    )

    down = commands.add_parser("down", help="end what `up` began", allow_abbrev=False)
    down.add_argument("--cgroup", metavar="PATH", help="only for this cgroup (default: all)")

    status = commands.add_parser(
        "status",
        help="say what is attached and what it counted; exit status 1: nothing, or not all",
        allow_abbrev=False,
    )
    status.add_argument("--json", action="store_true", help="for programs")

    one = commands.add_parser(
        "run", help="run one program with it, in a cgroup of its own", allow_abbrev=False
    )
    _what(one)
    one.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="-- PROGRAM ARGS", help="what to run"
    )
    return parser


def _what(parser: argparse.ArgumentParser) -> None:
    """Add what both ways to begin need to know."""
    parser.add_argument(
        "--from",
        dest="trusted",
        action="append",
        required=True,
        metavar="LIP[,LIP]",
        help="local addresses of the director, or prefixes; only from them TOA is believed",
    )
    parser.add_argument(
        "--kind", type=_kind, default=DEFAULT_KIND, metavar="N", help="the option's kind (254)"
    )
    parser.add_argument(
        "--kind-v6", type=_kind, metavar="N", help="its kind for IPv6 clients (as --kind)"
    )


def _kind(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value > 0xFF or value < _RESERVED_KINDS.stop:
        raise argparse.ArgumentTypeError(f"{text} is not a kind from {_RESERVED_KINDS.stop} to 255")
    return value


def _program(words: Sequence[str]) -> list[str]:
    """Return the program to run. Raise UsageError when none is named."""
    program = list(words[1:] if words[:1] == ["--"] else words)
    if not program:
        raise UsageError(f"say what to run after '--'; see '{PROG} run --help'")
    return program


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
