"""``lvsadm -S`` and ``-R``: what there is as command lines, and command lines as one change.

The lines are those of ``ipvsadm -S``, with what that leaves out: thresholds, and what only lvsd
has. They are read as a shell reads words, so that a name may have spaces in it.
"""

from __future__ import annotations

import shlex
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from lvsd.control import options
from lvsd.control.edits import FULL_LENGTHS
from lvsd.control.grammar import CommandLineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvsd.control.edits import Change
    from lvsd.control.names import Names
    from lvsd.control.protocol import ServerEntry, ServiceEntry, TimeoutsEntry

_LETTERS: Final = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
_FORWARDS: Final = {"dr": "-g", "tun": "-i", "nat": "-m", "fullnat": "-F"}

_TIMEOUTS_S: Final = (900, 120, 300)
_ALL_PORTS: Final = [1025, 65535]
_TOLD: Final = "toa"
_TOA_KIND: Final = 254
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
    yield f"-s {service['scheduler']}"
    if service["persistence_s"]:
        yield f"-p {service['persistence_s']}"
        prefix = service["prefix"]
        if prefix not in {None, FULL_LENGTHS[service["family"]]}:
            yield f"-M {prefix if service['family'] == 6 else IPv4Network((0, prefix)).netmask}"
    if service["one_packet"]:
        yield "-o"
    if service["flags"]:
        yield f"-b {','.join(service['flags'])}"
    yield from _of_lvsd(service)


def _of_lvsd(service: ServiceEntry) -> Iterator[str]:
    """Yield what ipvsadm has no option for."""
    if service["name"]:
        yield f"--name {shlex.quote(service['name'])}"
    if service["max_connections"]:
        yield f"--max-connections {service['max_connections']}"
    if service["slow_start_s"]:
        yield f"--slow-start {service['slow_start_s']}"
    if service["mss_clamp"]:
        yield "--mss-clamp"
    if service["local_addresses"]:
        yield f"--laddr {','.join(service['local_addresses'])}"
    if service["local_ports"] != _ALL_PORTS:
        yield "--local-ports {}-{}".format(*service["local_ports"])
    if service["tcp_timeout_s"]:
        yield f"--tcp-timeout {service['tcp_timeout_s']}"
    if service["udp_timeout_s"]:
        yield f"--udp-timeout {service['udp_timeout_s']}"
    if service["udp_answered_timeout_s"]:
        yield f"--udp-answered-timeout {service['udp_answered_timeout_s']}"


def _of_server(server: ServerEntry) -> Iterator[str]:
    yield f"{_FORWARDS[server['forward']]} -w {server['weight']}"
    if server["tunnel"]:
        yield f"--tun-type {server['tunnel']}"
        if server["tunnel"] == "gue":
            yield f"--tun-port {server['tunnel_port']}"
        if server["tunnel"] != "ipip":
            yield "--tun-csum" if server["tunnel_checksum"] else "--tun-nocsum"
    if server["upper"]:
        yield f"-x {server['upper']}"
    if server["lower"]:
        yield f"-y {server['lower']}"
    if server["client_address"] not in {"", _TOLD}:
        yield f"--client-address {server['client_address']}"
    if server["toa_kind"] not in {0, _TOA_KIND}:
        yield f"--toa-kind {server['toa_kind']}"


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
