"""lvsadm: ipvsadm's command for lvsd. What it prints is ipvsadm's, to the character.

Exit status: 0; 1 the list cannot be had; 2 the command line is wrong; 255 the daemon refused.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import lvsd
from lvsd.control import listing, options
from lvsd.control.client import ControlClient
from lvsd.control.names import Names, parse_service
from lvsd.control.options import Command, View
from lvsd.errors import ControlError, UsageError
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.control.protocol import ServiceEntry, ServiceSelector

LIST_FAILED = 1
USAGE = 2
REFUSED = 255
INTERRUPTED = 130

VERSION = f"lvsadm {lvsd.__version__} (prints as ipvsadm v1.31, IPVS v1.2.1)"


OWN_COMMANDS: Final = {"drain": "draining", "undrain": "draining", "save": "toml_saving"}
"""What ipvsadm has nothing like -> the module whose ``main`` gets the words."""


class Client(Protocol):
    """Somebody who asks a daemon."""

    def call(self, method: str, **params: object) -> Any:
        """Return the answer."""

    def items(self, method: str, **params: object) -> Iterator[Any]:
        """Return the items of an answer that is a list."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line, by default the process's own; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in OWN_COMMANDS:
        module = import_module(f"lvsd.control.{OWN_COMMANDS[words[0]]}")
        status: int = module.main(words)
        return status
    try:
        request = options.parse(words)
        for line in _run(request):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except UsageError as error:
        sys.stderr.write(f"{error}\n\n{options.USAGE}")
        return USAGE
    except ControlError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{printable(str(error))}\n")
        return REFUSED if request.command is Command.ZERO else LIST_FAILED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _run(request: options.Request) -> Iterator[str]:
    """Yield the lines to print."""
    if request.command is Command.HELP:
        yield f"{VERSION}\n{options.USAGE}".rstrip("\n")
        return
    if request.command is Command.VERSION:
        yield VERSION
        return
    with ControlClient(request.control) as client:
        yield from answer(request, client)


def answer(request: options.Request, client: Client) -> Iterator[str]:
    """Ask the daemon, by its client, and yield the lines to print.

    Raise ControlError with what the daemon refuses.
    """
    selector = _selector(request)
    match request:
        case options.Request(command=Command.ZERO):
            client.call("zero", **selector)
        case options.Request(command=Command.STATUS):
            entry = client.call("status")
            yield from [json.dumps(entry)] if request.json else listing.status(entry)
        case options.Request(timeout=True):
            entry = client.call("timeouts")
            yield json.dumps(entry) if request.json else listing.timeouts(entry)
        case options.Request(connection=True):
            yield from _connections(request, client)
        case _:
            yield from _services(request, client, selector)


def _selector(request: options.Request) -> dict[str, ServiceSelector]:
    """Return the parameters that select a service: none for all of them."""
    if request.endpoint is not None:
        protocol, text = request.endpoint
        address, port = parse_service(text, protocol)
        return {"service": {"protocol": protocol, "address": address, "port": port}}
    if request.fwmark:
        return {"service": {"fwmark": request.fwmark, "family": request.family}}
    return {}


def _services(
    request: options.Request, client: Client, selector: dict[str, ServiceSelector]
) -> Iterator[str]:
    entries: Iterable[ServiceEntry] = client.items("list", **selector)
    if request.sort:
        entries = listing.in_order(entries)
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
