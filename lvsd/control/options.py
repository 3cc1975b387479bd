"""lvsadm's command line: parsed as ipvsadm parses it, checked, and made a `Request`.

Short options may be glued (``-Lnc``) and so may an argument (``-t192.0.2.10:80``, ``-t=...``);
long ones take theirs apart or after ``=``. Unlike ipvsadm's, the command may stand anywhere,
and without one the table is listed.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lvsd.control.client import DEFAULT_PATH, default_path
from lvsd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FWMARK = 0xFFFFFFFF


class Command(Enum):
    """What is to be done."""

    LIST = "list"
    ZERO = "zero"
    STATUS = "status"
    HELP = "help"
    VERSION = "version"


class View(Enum):
    """What a listing shows of each service; ipvsadm's precedence where several are given."""

    STATS = "stats"
    RATE = "rate"
    THRESHOLDS = "thresholds"
    PERSISTENT = "persistent-conn"
    TUNNEL = "tun-info"
    PLAIN = "plain"


class Option(NamedTuple):
    """An option: its long name, its letter if it has one, whether it takes an argument."""

    name: str
    letter: str = ""
    argument: bool = False


OPTIONS = (
    Option("list", "L"),
    Option("list", "l"),
    Option("zero", "Z"),
    Option("status"),
    Option("help", "h"),
    Option("version", "v"),
    Option("tcp-service", "t", argument=True),
    Option("udp-service", "u", argument=True),
    Option("sctp-service", argument=True),
    Option("fwmark-service", "f", argument=True),
    Option("ipv6", "6"),
    Option("numeric", "n"),
    Option("connection", "c"),
    Option("timeout"),
    Option("stats"),
    Option("rate"),
    Option("thresholds"),
    Option("persistent-conn"),
    Option("tun-info"),
    Option("exact", "X"),
    Option("sort"),
    Option("nosort"),
    Option("json"),
    Option("control", argument=True),
)
_BY_NAME = {f"--{option.name}": option for option in OPTIONS}
_BY_LETTER = {option.letter: option for option in OPTIONS if option.letter}

_ENDPOINTS = {"tcp-service": "tcp", "udp-service": "udp", "sctp-service": "sctp"}
_SELECTORS = {*_ENDPOINTS, "fwmark-service"}
_LIST_ONLY = {
    "numeric", "connection", "timeout", "stats", "rate", "thresholds", "persistent-conn",
    "tun-info", "exact", "sort", "nosort", "json",
}  # fmt: skip
_COUNTING = {"stats", "rate", "thresholds"}

USAGE = """\
Usage:
  lvsadm [-L|-l] [virtual-service] [options]   list services, or connections (-c)
  lvsadm -Z [virtual-service]                  set counters to zero
  lvsadm --status                              packets dropped, by reason
  lvsadm -h | -v

virtual-service:
  --tcp-service    -t ADDRESS[:PORT]   [IPV6]:PORT for IPv6; names will do
  --udp-service    -u ADDRESS[:PORT]
  --sctp-service      ADDRESS[:PORT]
  --fwmark-service -f MARK             with --ipv6, -6: the mark's IPv6 service

Options of a list:
  --numeric     -n    addresses and ports as numbers, nothing looked up
  --stats             connections, packets and bytes since the last -Z
  --rate              the same per second
  --exact       -X    numbers in full, not in K, M, G or T
  --thresholds        upper and lower thresholds
  --persistent-conn   templates of persistence per server
  --tun-info          kind, port and checksum of tunnels
  --nosort            services and servers in the daemon's own order
  --sort              sorted by address, which is the default
  --connection  -c    connections instead of services
  --timeout           timeouts (tcp tcpfin udp) instead of services
  --json              for programs

Options of all:
  --control PATH      the daemon's socket; default $LVSD_CONTROL, else /run/lvsd/control.sock
"""


class Request(NamedTuple):
    """What the command line asks for.

    ``endpoint`` is a protocol and the service's address as typed, ``fwmark`` 0 if not given.
    """

    command: Command = Command.LIST
    endpoint: tuple[str, str] | None = None
    fwmark: int = 0
    family: int = 4
    view: View = View.PLAIN
    numeric: bool = False
    connection: bool = False
    timeout: bool = False
    exact: bool = False
    sort: bool = True
    json: bool = False
    control: Path = DEFAULT_PATH


def parse(arguments: Sequence[str]) -> Request:
    """Return what a command line asks for. Raise UsageError if it is none."""
    given: dict[str, str] = {}
    for name, argument in _split(arguments):
        if name in given:
            raise UsageError(f"--{name} is given twice")
        given[name] = argument
    command = _command(given)
    _check(command, set(given))
    endpoints = ((protocol, given[name]) for name, protocol in _ENDPOINTS.items() if name in given)
    is_fwmark = "fwmark-service" in given
    return Request(
        command=command,
        endpoint=next(endpoints, None),
        fwmark=_fwmark(given["fwmark-service"]) if is_fwmark else 0,
        family=6 if is_fwmark and "ipv6" in given else 4,
        view=next((view for view in View if view.value in given), View.PLAIN),
        numeric="numeric" in given,
        connection="connection" in given,
        timeout="timeout" in given,
        exact="exact" in given,
        sort="nosort" not in given,
        json="json" in given,
        control=Path(given["control"]) if "control" in given else default_path(),
    )


def _split(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (long name, argument or "") of each option."""
    words = iter(arguments)
    for word in words:
        if word.startswith("--"):
            name, equals, argument = word.partition("=")
            option = _BY_NAME.get(name)
            if option is None:
                raise UsageError(f"{name}: unknown option")
            if equals and not option.argument:
                raise UsageError(f"{name} takes no argument")
            yield option.name, argument if equals else _argument(option, name, words)
        elif word.startswith("-") and word != "-":
            yield from _split_letters(word[1:], words)
        else:
            raise UsageError(f"unexpected argument {word}")


def _split_letters(letters: str, words: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of one word of letters; an argument may be its tail or the next word."""
    for place, letter in enumerate(letters, start=1):
        option = _BY_LETTER.get(letter)
        if option is None:
            raise UsageError(f"-{letter}: unknown option")
        if option.argument and letters[place:]:
            yield option.name, letters[place:].removeprefix("=")
            return
        yield option.name, _argument(option, f"-{letter}", words)


def _argument(option: Option, name: str, words: Iterator[str]) -> str:
    if not option.argument:
        return ""
    argument = next(words, None)
    if argument is None:
        raise UsageError(f"{name} needs an argument")
    return argument


def _command(given: dict[str, str]) -> Command:
    commands = [command for command in Command if command.value in given]
    if len(commands) > 1:
        raise UsageError(" and ".join(f"--{command.value}" for command in commands) + ": which?")
    return commands[0] if commands else Command.LIST


def _check(command: Command, given: set[str]) -> None:
    """Refuse combinations that mean nothing; those that ipvsadm refuses."""
    if command in {Command.HELP, Command.VERSION}:
        return
    if command is not Command.LIST:
        for name in sorted(given & _LIST_ONLY - ({"json"} if command is Command.STATUS else set())):
            raise UsageError(f"--{name} does not go with --{command.value}")
    subjects = sorted(given & {*_SELECTORS, "connection", "timeout"})
    if command is Command.STATUS and subjects:
        raise UsageError(f"--{subjects[0]} does not go with --status")
    if len(subjects) > 1:
        raise UsageError(f"--{subjects[0]} and --{subjects[1]} do not go together")
    for subject, others in (
        ("connection", _COUNTING),
        ("timeout", {*_COUNTING, "persistent-conn"}),
    ):
        for other in sorted(given & others if subject in given else ()):
            raise UsageError(f"--{subject} and --{other} do not go together")
    if "ipv6" in given and "fwmark-service" not in given:
        raise UsageError("-6 belongs to -f MARK")


def _fwmark(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= MAX_FWMARK:
        raise UsageError(f"{text!r} is not a mark from 1 to {MAX_FWMARK}")
    return int(text)
