"""``lvsadm -S`` and ``-R``: what there is as command lines, and command lines as one change.

The lines are those of ``ipvsadm -S``, with what that leaves out: thresholds, and what only lvsd
has. They are read as a shell reads words, so that a name may have spaces in it.
"""

from __future__ import annotations

import shlex
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any, Final

from lvsd import keys
from lvsd.control import options
from lvsd.control.edits import FULL_LENGTHS
from lvsd.control.grammar import CommandLineError
from lvsd.keys import Kind, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.control.edits import Change
    from lvsd.control.names import Names
    from lvsd.control.protocol import ServerEntry, ServiceEntry, TimeoutsEntry
    from lvsd.keys import Key

_LETTERS: Final = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
_FORWARDS: Final = {"dr": "-g", "tun": "-i", "nat": "-m", "fullnat": "-F"}

_TIMEOUTS_S: Final = (900, 120, 300)
"""What there is unless somebody says otherwise; then nothing is written."""

_SPECIAL: Final = frozenset("'\"\\#")
_PROGRAMS: Final = ("ipvsadm", "lvsadm")


# --- saving ---------------------------------------------------------------------------------


def saved(
    entries: Iterable[ServiceEntry], timeouts: TimeoutsEntry, names: Names, *, sort: bool
) -> Iterator[str]:
    """Yield the lines that make services and their real servers, and set the timeouts.

    Sorted entries are written in their order. The daemon's own has the newest server first:
    then the oldest is written first, so that the order comes back.
    """
    for service in entries:
        selector = _selector(service, names)
        yield " ".join(["-A", selector, *_of_service(service)])
        for server in service["servers"] if sort else reversed(service["servers"]):
            endpoint = names.endpoint(server["address"], server["port"], service["protocol"])
            yield " ".join(["-a", selector, "-r", endpoint, *_of_server(server)])
    seconds = timeouts["tcp_s"], timeouts["tcp_fin_s"], timeouts["udp_s"]
    if seconds != _TIMEOUTS_S:
        yield "--set {} {} {}".format(*seconds)


def _selector(service: ServiceEntry, names: Names) -> str:
    if service["fwmark"]:
        return f"-f {service['fwmark']}" + (" -6" if service["family"] == 6 else "")
    protocol = service["protocol"]
    return f"{_LETTERS[protocol]} {names.endpoint(service['address'], service['port'], protocol)}"


def _of_service(service: ServiceEntry) -> Iterator[str]:
    for key in keys.SERVICE:
        value = service[key.word]  # type: ignore[literal-required]  # a key of its own
        if key.kind is Kind.LENGTH:
            if service["persistence_s"] and value not in {None, FULL_LENGTHS[service["family"]]}:
                yield f"-M {value if service['family'] == 6 else IPv4Network((0, value)).netmask}"
        elif key.option == "scheduler" or value != plain(key.default):
            yield _written(key, value)


def _written(key: Key, value: Any) -> str:
    """Return an option with its argument."""
    match key.kind:
        case Kind.SWITCH:
            return key.spelt
        case Kind.FLAGS | Kind.ADDRESSES:
            argument = ",".join(value)
        case Kind.PORTS:
            argument = "{}-{}".format(*value)
        case _:
            argument = shlex.quote(str(value))
    return f"{key.spelt} {argument}"


def _of_server(server: ServerEntry) -> Iterator[str]:
    yield _FORWARDS[server["forward"]]
    weight, *thresholds = keys.SERVER
    yield _written(weight, server["weight"])
    if server["tunnel"]:
        yield f"--tun-type {server['tunnel']}"
        if server["tunnel"] == "gue":
            yield f"--tun-port {server['tunnel_port']}"
        if server["tunnel"] != "ipip":
            yield "--tun-csum" if server["tunnel_checksum"] else "--tun-nocsum"
    for key in (*thresholds, *(keys.FULLNAT if server["forward"] == "fullnat" else ())):
        value = server[key.word]  # type: ignore[literal-required]  # a key of its own
        if value != key.default:
            yield _written(key, value)


# --- restoring ------------------------------------------------------------------------------


def read(lines: Iterable[str]) -> tuple[list[Change], list[int]]:
    """Return the changes that lines ask for, and the number of the line of each.

    Empty lines and those that begin with # say nothing. Raise CommandLineError, the number of the
    line first, for the first that is wrong.
    """
    changes: list[Change] = []
    numbers: list[int] = []
    for number, line in enumerate(_text(lines), start=1):
        try:
            changes += _changes(line)
        except CommandLineError as error:
            raise CommandLineError(f"line {number}: {error}", error.status) from None
        except ValueError as error:
            raise CommandLineError(f"line {number}: {error}") from None
        numbers += [number] * (len(changes) - len(numbers))
    return changes, numbers


def _text(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines. Raise CommandLineError where there are bytes that are no text."""
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise CommandLineError(f"the input is no text: {error}") from None


def _changes(line: str) -> Sequence[Change]:
    is_plain = _SPECIAL.isdisjoint(line)  # which is read in a tenth of the time
    arguments = line.split() if is_plain else shlex.split(line, comments=True)
    if arguments[:1] and arguments[0] in _PROGRAMS:
        del arguments[0]
    if not arguments:
        return ()
    request = options.parse(arguments)
    if not request.changes:
        command = request.command.value
        raise CommandLineError(f"--{command} does not belong among the lines of -R")
    return request.changes
