"""lvsadm: ipvsadm's command for lvsd. What it prints is ipvsadm's, to the character.

Exit status, as ipvsadm's: 0; 1 the list cannot be had; 2 the command line means nothing; 255 the
daemon refused, or an option is unknown.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import lvsd
from lvsd.control import listing, options, saving
from lvsd.control.client import TIMEOUT_S, ControlClient
from lvsd.control.grammar import REFUSED, CommandLineError
from lvsd.control.grammar import USAGE as USAGE_STATUS
from lvsd.control.names import Names
from lvsd.control.options import Command, View
from lvsd.control.usage import USAGE
from lvsd.errors import ControlError, UsageError
from lvsd.garbage import without_collections
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from lvsd.control.protocol import ServiceEntry

    Connect: TypeAlias = Callable[[Path, float], AbstractContextManager["Client"]]

LIST_FAILED = 1
INTERRUPTED = 130

RESTORE_S = 900.0
"""How long a daemon may take for a list of any length."""

VERSION = f"lvsadm {lvsd.__version__} (does as ipvsadm v1.31, IPVS v1.2.1)"

_OF_SERVERS = {"add_server", "edit_server", "remove_server"}
_LISTINGS = {Command.LIST, Command.SAVE, Command.STATUS}


OWN_COMMANDS: Final = {
    "drain": "draining",
    "undrain": "draining",
    "save": "toml_saving",
    "watch": "watching",
    "top": "top",
    "checks": "checks",
    "check": "checks",
}
"""What ipvsadm has nothing like -> the module whose ``main`` gets the words."""


class Client(Protocol):
    """Somebody who asks a daemon."""

    def call(self, method: str, **params: object) -> Any:
        """Return the answer."""

    def items(self, method: str, **params: object) -> Iterator[Any]:
        """Return the items of an answer that is a list."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    connect: Connect = ControlClient,
) -> int:
    """Carry out a command line, by default the process's own; return the exit status.

    ``connect`` reaches the daemon that listens on a path, and waits so many seconds for answers.
    """
    words = _command_first(sys.argv[1:] if arguments is None else [*arguments])
    if words and words[0] in OWN_COMMANDS:
        return _own(words)
    try:
        request = options.parse(words)
        with without_collections():
            for line in _run(request, connect):
                sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except CommandLineError as error:
        _complain(error)
        return error.status
    except ControlError as error:
        sys.stdout.flush()
        _complain(error)
        return LIST_FAILED if request.command in _LISTINGS else REFUSED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # Nor what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(f"the output cannot be written: {error.strerror or error}")
        return LIST_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _own(words: list[str]) -> int:
    """Carry out a command that ipvsadm has nothing like."""
    module = import_module(f"lvsd.control.{OWN_COMMANDS[words[0]]}")
    try:
        status: int = module.main(words)
    except UsageError as error:
        _complain(error)
        return USAGE_STATUS
    except SystemExit:  # argparse has printed the help
        return 0
    return status


def _command_first(words: list[str]) -> list[str]:
    """Return a command line of ours with the command before where the daemon listens."""
    size = 2 if words[:1] == ["--control"] else 1
    is_placed = bool(words) and words[0].partition("=")[0] == "--control"
    if is_placed and words[size : size + 1] and words[size] in OWN_COMMANDS:
        return [words[size], *words[:size], *words[size + 1 :]]
    return words


def _complain(error: Exception | str) -> None:
    sys.stderr.writelines(f"{printable(line)}\n" for line in str(error).splitlines())


def _run(request: options.Request, connect: Connect) -> Iterator[str]:
    """Yield the lines to print."""
    if request.command is Command.HELP:
        yield f"{VERSION}\n{USAGE}".rstrip("\n")
        return
    if request.command is Command.VERSION:
        yield VERSION
        return
    if request.command is Command.RESTORE:
        changes, lines = saving.read(sys.stdin)
        request = request._replace(changes=changes, lines=lines)
    patience_s = RESTORE_S if request.command is Command.RESTORE else TIMEOUT_S
    with connect(request.control, patience_s) as client:
        yield from answer(request, client)


def answer(request: options.Request, client: Client) -> Iterator[str]:
    """Ask the daemon, by its client, and yield the lines to print.

    Raise ControlError with what the daemon refuses.
    """
    try:
        yield from _answer(request, client)
    except KeyError as error:
        raise _other_version(f"its answer lacks {error}") from error


def _answer(request: options.Request, client: Client) -> Iterator[str]:
    match request:
        case options.Request(command=Command.STATUS):
            entry = client.call("status")
            yield from [json.dumps(entry)] if request.json else listing.status(entry)
        case options.Request(command=Command.SAVE):
            names = Names(numeric=request.numeric)
            entries = _listed(request, client)
            yield from saving.saved(entries, client.call("timeouts"), names, sort=request.sort)
        case options.Request(command=Command.LIST, timeout=True):
            entry = client.call("timeouts")
            yield json.dumps(entry) if request.json else listing.timeouts(entry)
        case options.Request(command=Command.LIST, daemon=True):
            yield from [json.dumps({"daemons": []})] if request.json else ()
        case options.Request(command=Command.LIST, connection=True):
            yield from _connections(request, client)
        case options.Request(command=Command.LIST):
            yield from _services(request, client)
        case options.Request(command=Command.ZERO, changes=[change]):
            client.call("zero", **{key: change[key] for key in change if key == "service"})
        case _:
            _change(request, client)


def _change(request: options.Request, client: Client) -> None:
    """Have all of the changes made, or none."""
    try:
        client.call("change", commands=[*request.changes])
    except ControlError as error:
        told = str(error)
        if "no method" in told:
            raise _other_version(told.removeprefix("lvsd: ").partition(";")[0]) from error
        raise ControlError(_in_ipvsadms_words(told, request)) from error


_PLACE = re.compile(r"^(?:lvsd: )?commands\[(\d+)\][.:] *")


def _in_ipvsadms_words(told: str, request: options.Request) -> str:
    """Say why a change was refused as ipvsadm does, and on which line of ``-R`` it stood."""
    found = _PLACE.match(told)
    number = int(found[1]) if found else 0
    told = told[found.end() :] if found else told
    if told == "No such service" and request.changes[number]["command"] in _OF_SERVERS:
        told = "Service not defined"
    if request.lines and (found or len(request.lines) == 1):
        return f"line {request.lines[number]}: {told}"
    return told


def _other_version(what: str) -> ControlError:
    return ControlError(
        f"lvsd is of another version than this lvsadm, {lvsd.__version__}: {what};"
        " restart it, or use the lvsadm of its version"
    )


def _listed(request: options.Request, client: Client, **selector: object) -> Iterable[ServiceEntry]:
    entries: Iterable[ServiceEntry] = client.items("list", **selector)
    return listing.in_order(entries) if request.sort else entries


def _services(request: options.Request, client: Client) -> Iterator[str]:
    selector = {"service": request.service} if request.service else {}
    entries = _listed(request, client, **selector)
    if request.json:
        yield from _json_lines("services", entries)
        return
    if not selector:
        yield listing.BANNER
    names = Names(numeric=request.numeric)
    yield from listing.services(entries, request.view, names, exact=request.exact)


def _connections(request: options.Request, client: Client) -> Iterator[str]:
    entries = client.items("connections")
    if request.json:
        yield from _json_lines("connections", entries)
        return
    names = Names(numeric=request.numeric)
    with_engine = request.view is View.PERSISTENT
    yield from listing.connections(entries, names, with_engine=with_engine)


def _json_lines(name: str, entries: Iterable[object]) -> Iterator[str]:
    """Yield an object with one list in it, a line per entry, of any length."""
    yield f'{{"{name}": ['
    lines = map(json.dumps, entries)
    held = next(lines, None)
    for line in lines:
        yield f"{held},"
        held = line
    if held is not None:
        yield held
    yield "]}"


if __name__ == "__main__":
    sys.exit(main())
