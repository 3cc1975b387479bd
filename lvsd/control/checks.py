"""``lvsadm checks`` and ``lvsadm check``: how real servers are, and how one is right now.

Exit status: 0, with ``check``: the server is well; 1 lvsd cannot be reached; 2 the command line is
wrong; 3 with ``check``: the server is not well; 255 the daemon refused.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from lvsd.control.client import ControlClient
from lvsd.control.names import parse_service
from lvsd.control.own_commands import Parser
from lvsd.control.protocol import Code
from lvsd.control.watching import label
from lvsd.errors import ControlError
from lvsd.packet.address import endpoint, pack
from lvsd.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.control.protocol import CheckEntry

UNREACHABLE: Final = 1
UNWELL: Final = 3
REFUSED: Final = 255
INTERRUPTED: Final = 130

_TITLE: Final = (
    "Service",
    "  -> RemoteAddress:Port           Check  State     Since    Took   Next   What it said",
)


def main(words: Sequence[str]) -> int:
    """Carry out a command line that begins with ``checks`` or ``check``; return the status.

    Raise UsageError.
    """
    name, *rest = words
    given = (_parser_of_list() if name == "checks" else _parser_of_one()).parse_args(rest)
    try:
        return _list(given) if name == "checks" else _one(given)
    except ControlError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return REFUSED if error.code in {Code.REFUSED, Code.FORBIDDEN} else UNREACHABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser_of_list() -> Parser:
    parser = Parser(
        "checks",
        "List the real servers that are checked: whether they are well, since when, and why.",
        "0; 1 lvsd cannot be reached; 2 usage; 255 refused.",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="a name, or VIP:PORT; or all")
    parser.add_argument("--down", action="store_true", help="only those that are down")
    parser.add_argument("--json", action="store_true", help="list for programs")
    return parser


def _parser_of_one() -> Parser:
    parser = Parser(
        "check",
        "Ask a real server now whether it is well. The answer counts as any other.",
        "0 it is well; 1 lvsd cannot be reached; 2 usage; 3 it is not well; 255 refused.",
    )
    parser.add_argument("service", metavar="SERVICE", help="a name, or VIP:PORT")
    parser.add_argument("server", metavar="SERVER", help="ADDRESS:PORT or [IPV6]:PORT")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _list(given: argparse.Namespace) -> int:
    with ControlClient(given.control) as client:
        entries = list(_of_service(client, given.service))
    if given.down:
        entries = [each for each in entries if not each["up"]]
    if given.json:
        sys.stdout.write(f"{json.dumps({'checks': entries})}\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(entries))
    return 0


def _one(given: argparse.Namespace) -> int:
    address, port = parse_service(given.server, "tcp")
    with ControlClient(given.control) as client:
        for each in _of_service(client, given.service):
            if each["server"] == {"address": address, "port": port}:
                break
        else:
            raise _refused(f"{given.server} is not checked for {given.service}")
        found = client.call("check", service=each["service"], server=each["server"])
    if given.json:
        sys.stdout.write(f"{json.dumps(found)}\n")
    else:
        state = "well" if found["good"] else "not well"
        took = f"{found['took_ms']:g} ms"
        said = f"{given.server} is {state}: {found['said']} ({found['check']}, {took})"
        sys.stdout.write(f"{printable(said)}\n")
    return 0 if found["good"] else UNWELL


def _of_service(client: ControlClient, wanted: str | None) -> Iterator[CheckEntry]:
    """Yield what is checked, of a service or of all. Raise ControlError where there is none."""
    entries: list[CheckEntry] = list(client.items("checks"))
    if wanted is None:
        yield from entries
        return
    found = [each for each in entries if wanted in _names(each)]
    if not found:
        raise _refused(f"no service {wanted} whose real servers are checked")
    yield from found


def _names(each: CheckEntry) -> Iterable[str]:
    """Return what the service of a server may be called on the command line."""
    service: Any = each["service"]
    names = {each["name"], label(service)}
    if "address" in service:
        names.add(endpoint(pack(service["address"]), service["port"]))
    else:
        names.add(str(service["fwmark"]))
    return names - {""}


def _refused(why: str) -> ControlError:
    error = ControlError(why)
    error.code = Code.REFUSED
    return error


def _lines(entries: Iterable[CheckEntry]) -> Iterator[str]:
    yield from _TITLE
    before = ""
    for each in entries:
        what = label(each["service"])
        service = f"{each['name']} ({what})" if each["name"] else what
        if service != before:
            yield printable(service)
            before = service
        server: Any = each["server"]
        at = endpoint(pack(server["address"]), server["port"])
        state = ("up" if each["up"] else "down") if each["health"] != "standby" else "standby"
        yield printable(
            f"  -> {at:<28} {each['check']:<6} {state:<9} {_time(each['since_s']):<8} "
            f"{each['took_ms']:<6.1f} {each['next_s']:<6.1f} {each['said'] or 'not asked yet'}"
        )


def _time(seconds: int) -> str:
    """Return a time in the largest unit that says enough: 45s, 12m, 5h, 3d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
