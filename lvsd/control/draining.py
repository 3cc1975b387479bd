"""``lvsadm drain`` and ``lvsadm undrain``: take real servers out of service, and put them back.

Exit status: 0 done, with ``--wait``: no connection is left; 1 the daemon cannot be reached; 2 the
command line is wrong; 3 with ``--wait``: connections were cut at the deadline; 4 with ``--wait``:
somebody has taken the server back, or removed it; 255 the daemon refused.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from time import sleep
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.control.client import ControlClient
from lvsd.control.edits import MAX_FWMARK
from lvsd.control.names import Names, parse_service, whole
from lvsd.control.own_commands import Parser
from lvsd.errors import ControlError, UsageError
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from lvsd.control.protocol import ServerEntry, ServiceEntry, ServiceSelector

UNREACHABLE: Final = 1
CUT: Final = 3
TAKEN_BACK: Final = 4
REFUSED: Final = 255
INTERRUPTED: Final = 130

ASK_S: Final = 1.0
"""How often ``--wait`` asks: the daemon itself checks once a second."""

PATIENCE: Final = 30
"""How often in a row ``--wait`` may get no answer, as while a daemon restarts."""

MAX_DEADLINE_S: Final = 31 * 86400
"""The longest deadline, in seconds: that of timeouts."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME: Final = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)

_TITLE: Final = (
    "Prot LocalAddress:Port",
    "  -> RemoteAddress:Port           State     Weight Now    Connections Left",
)


class Place(NamedTuple):
    """A real server of a service, as both were listed."""

    service: ServiceEntry
    server: ServerEntry

    @property
    def selector(self) -> ServiceSelector:
        """The object that selects the service in a request."""
        service = self.service
        if service["fwmark"]:
            return {"fwmark": service["fwmark"], "family": service["family"]}
        return {
            "protocol": service["protocol"],
            "address": service["address"],
            "port": service["port"],
        }

    @property
    def key(self) -> dict[str, object]:
        """The object that selects the server within its service."""
        return {"address": self.server["address"], "port": self.server["port"]}

    def __str__(self) -> str:
        return f"{_endpoint(self.server)} of {_service_name(self.service)}"


def main(words: Sequence[str]) -> int:
    """Carry out a command line that begins with ``drain`` or ``undrain``; return the status.

    Raise UsageError.
    """
    name, *rest = words
    given = _parser(name).parse_args(rest)
    try:
        return _run(name, given)
    except _RefusedError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return REFUSED
    except ControlError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return UNREACHABLE
    except KeyboardInterrupt:
        return INTERRUPTED


class _RefusedError(ControlError):
    """The daemon was reached, and refuses."""


def seconds(text: str) -> int:
    """Return the seconds of ``300``, ``90s``, ``5m``, ``2h`` or ``1d``. Raise ArgumentTypeError."""
    found = _TIME.fullmatch(text)
    if found and (value := int(found[1]) * _UNITS[found[2]]) <= MAX_DEADLINE_S:
        return value
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time such as 90s, 5m or 2h, of 31 days at the most"
    )


def _mark(text: str) -> int:
    """Return a firewall mark. Raise ArgumentTypeError."""
    mark = whole(text, 1, MAX_FWMARK)
    if mark is None:
        raise argparse.ArgumentTypeError(f"invalid fwmark value `{text}' specified")
    return mark


_ABOUT: Final = {
    "drain": (
        (
            "Let a real server have no new connections, and its clients leave it; without a "
            "server, list those that are drained or begin slowly."
        ),
        (
            "0 done (with --wait: no connection is left); 1 lvsd cannot be reached; 2 usage; "
            "3 connections were cut at the deadline; 4 the server was taken back or removed "
            "meanwhile; 255 refused."
        ),
    ),
    "undrain": (
        "Let a drained real server have new connections again.",
        "0 done; 1 lvsd cannot be reached; 2 usage; 255 refused.",
    ),
}
"""What each command does, and its exit status."""


def _parser(name: str) -> Parser:
    is_drain = name == "drain"
    parser = Parser(name, *_ABOUT[name])
    parser.add_argument(
        "server",
        metavar="SERVER",
        nargs="?" if is_drain else None,
        help="ADDRESS:PORT, [IPV6]:PORT, or an address alone for all of its ports",
    )
    only = parser.add_argument_group("Of one service alone").add_mutually_exclusive_group()
    for letter, protocol in (("-t", "tcp"), ("-u", "udp"), (None, "sctp")):
        options = [letter] if letter else []
        only.add_argument(*options, f"--{protocol}-service", metavar="VIP:PORT", dest=protocol)
    only.add_argument("-f", "--fwmark-service", type=_mark, metavar="MARK", dest="fwmark")
    parser.add_argument("-6", "--ipv6", action="store_true", help="the mark's IPv6 service")
    if is_drain:
        parser.add_argument(
            "--deadline",
            type=seconds,
            metavar="TIME",
            help="cut what is left after so long (90s, 5m, 2h); else it may stay",
        )
        parser.add_argument("--wait", action="store_true", help="wait until none is left")
        parser.add_argument("--json", action="store_true", help="list for programs")
    return parser


def _run(name: str, given: argparse.Namespace) -> int:
    control = given.control
    selector = _selector(given)
    if given.server is None:
        if given.deadline is not None or given.wait:
            raise UsageError("--deadline and --wait go with a server: lvsadm drain SERVER ...")
        sys.stdout.writelines(f"{line}\n" for line in _listing(control, selector, given.json))
        return 0
    if name == "drain" and given.json:
        raise UsageError("--json lists: it goes without a server")
    wanted = _server(given.server)
    with ControlClient(control) as client:
        places = list(_found(_listed(client, selector), *wanted))
        if not places:
            raise _RefusedError(f"No such destination: {given.server}")
        if name == "undrain":
            places = [each for each in places if each.server["drain"] is not None]
            if not places:
                raise _RefusedError(f"{given.server} is not drained")
        deadline_s = None if name == "undrain" else given.deadline
        _change(client, [_command(name, each, deadline_s) for each in places])
    return _wait(control, places) if name == "drain" and given.wait else 0


def _selector(given: argparse.Namespace) -> dict[str, ServiceSelector]:
    """Return the parameters that select a service: none for all of them."""
    if given.fwmark is not None:
        return {"service": {"fwmark": given.fwmark, "family": 6 if given.ipv6 else 4}}
    if given.ipv6:
        raise UsageError("-6 belongs to -f MARK")
    for protocol in ("tcp", "udp", "sctp"):
        text = getattr(given, protocol)
        if text is not None:
            address, port = parse_service(text, protocol)
            return {"service": {"protocol": protocol, "address": address, "port": port}}
    return {}


def _server(text: str) -> tuple[str, int | None]:
    """Return a server's address, and its port: None for all of them."""
    if text.startswith("[") and text.endswith("]") and ":" in text:
        text = text[1:-1]
    address, port = parse_service(text, "tcp")
    is_alone = not text.startswith("[") and text.count(":") != 1
    return address, None if is_alone else port


def _listed(client: ControlClient, selector: dict[str, ServiceSelector]) -> Iterable[ServiceEntry]:
    try:
        services: Iterable[ServiceEntry] = client.items("list", **selector)
    except ControlError as error:
        if str(error) == "No such service":
            raise _RefusedError(str(error)) from error
        raise
    return services


def _found(services: Iterable[ServiceEntry], address: str, port: int | None) -> Iterator[Place]:
    for service in services:
        for server in service["servers"]:
            if server["address"] == address and port in {None, server["port"]}:
                yield Place(service, server)


def _command(name: str, place: Place, deadline_s: int | None) -> dict[str, object]:
    command: dict[str, object] = {"command": name, "service": place.selector, "server": place.key}
    return command if deadline_s is None else command | {"deadline_s": deadline_s}


def _change(client: ControlClient, commands: list[dict[str, object]]) -> None:
    try:
        client.call("change", commands=commands)
    except ControlError as error:
        raise _RefusedError(str(error)) from error


# --- until it is empty ------------------------------------------------------------------------


def _wait(control: Path, places: Sequence[Place]) -> int:
    """Wait until none of the servers has a connection; return the exit status."""
    left, is_cut, failures = list(places), False, 0
    while left:
        try:
            with ControlClient(control) as client:
                now = [(each, _now(client, each)) for each in left]
        except ControlError:
            failures += 1
            if failures >= PATIENCE:
                raise
            sleep(ASK_S)
            continue
        failures = 0
        left = []
        for place, server in now:
            if server is None or server["drain"] is None:
                what = "is not drained any more" if server else "was removed"
                sys.stderr.write(f"{place} {what}\n")
                return TAKEN_BACK
            if not server["drain"]["empty"]:
                left.append(place)
            elif cut := server["drain"]["cut"]:
                is_cut = True
                sys.stderr.write(f"{place}: the deadline cut {cut} connection{'s' * (cut > 1)}\n")
        if left:
            sleep(ASK_S)
    return CUT if is_cut else 0


def _now(client: ControlClient, place: Place) -> ServerEntry | None:
    """Return a server as it is now; None if it is gone."""
    try:
        services = _listed(client, {"service": place.selector})
    except _RefusedError:
        return None
    server = place.server
    found = next(_found(services, server["address"], server["port"]), None)
    return found.server if found else None


# --- who is drained, or begins slowly -----------------------------------------------------------


def _listing(control: Path, selector: dict[str, ServiceSelector], as_json: object) -> Iterator[str]:
    with ControlClient(control) as client:
        services = list(_listed(client, selector))
    found = [
        (service, servers)
        for service in services
        if (servers := [each for each in service["servers"] if each["drain"] or each["slow_start"]])
    ]
    if as_json:
        yield json.dumps({"services": [{**each, "servers": some} for each, some in found]})
        return
    yield from _TITLE
    for service, servers in found:
        yield _service_name(service)
        for server in servers:
            state, left_s = _state(server)
            left = "-" if left_s is None else f"{left_s // 60}:{left_s % 60:02}"
            yield (
                f"  -> {_endpoint(server):<28} {state:<9} {server['weight']:<6} "
                f"{server['effective_weight']:<6g} {server['active'] + server['inactive']:<11} "
                f"{left}"
            )


def _state(server: ServerEntry) -> tuple[str, int | None]:
    """Return a server's state in a word, and the seconds left, if there is an end."""
    if drain := server["drain"]:
        return "empty" if drain["empty"] else "draining", drain["left_s"]
    start = server["slow_start"]
    return "starting", start["left_s"] if start else None


def _endpoint(entry: ServerEntry) -> str:
    return Names(numeric=True).endpoint(entry["address"], entry["port"], "")


def _service_name(service: ServiceEntry) -> str:
    if service["fwmark"]:
        return f"FWM  {service['fwmark']}" + (" IPv6" if service["family"] == 6 else "")
    endpoint = Names(numeric=True).endpoint(service["address"], service["port"], "")
    return f"{service['protocol'].upper():<4} {endpoint}"
