"""lvsadm's command line: parsed as ipvsadm parses it, checked, and made a `Request`.

How it is written is in `lvsd.control.grammar`, what is said of services in `lvsd.control.edits`.
Unlike with ipvsadm, the command may stand anywhere, and without one the table is listed.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lvsd import keys
from lvsd.control import edits
from lvsd.control.client import DEFAULT_PATH, default_path
from lvsd.control.edits import Said
from lvsd.control.grammar import (
    COMMANDS,
    FORWARD,
    OPTIONS,
    REFUSED,
    SERVICE,
    CommandLineError,
    Word,
)
from lvsd.control.grammar import words as taken_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvsd.control.protocol import ServiceSelector


class Command(Enum):
    """What is to be done; the long name of its option."""

    ADD = "add-service"
    EDIT = "edit-service"
    DELETE = "delete-service"
    CLEAR = "clear"
    RESTORE = "restore"
    SAVE = "save"
    ADD_SERVER = "add-server"
    EDIT_SERVER = "edit-server"
    DELETE_SERVER = "delete-server"
    LIST = "list"
    ZERO = "zero"
    SET = "set"
    START_DAEMON = "start-daemon"
    STOP_DAEMON = "stop-daemon"
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


_NAMES: Final = {option.name for option in COMMANDS}
_TOLD: Final = {"clear": "flush"}
"""What ipvsadm's messages call a command, if not by its option."""

_ORDER: Final = tuple(dict.fromkeys(option.says for option in OPTIONS))
_ANYWHERE: Final = {"ipv6", "sort", "control"}

_OF_SERVICE: Final = {each.option for each in keys.SERVICE} | {"pe"}
_OF_SERVER: Final = {
    *(each.option for each in (*keys.SERVER, *keys.TUNNEL, *keys.FULLNAT)),
    *(FORWARD, "tun-nocsum", "tun-remcsum"),
}
_OF_SYNC: Final = {
    *("mcast-interface", "mcast-group", "mcast-port", "mcast-ttl", "syncid", "sync-maxlen")
}
_OF_LIST: Final = {
    *("numeric", "connection", SERVICE, "timeout", "daemon", "stats", "rate", "thresholds"),
    *("persistent-conn", "nosort", "exact", "tun-info", "json"),
}

_MAY: Final[dict[Command, set[str]]] = {
    Command.ADD: _OF_SERVICE,
    Command.EDIT: _OF_SERVICE,
    Command.ADD_SERVER: _OF_SERVER,
    Command.EDIT_SERVER: _OF_SERVER,
    Command.SAVE: {"numeric", "nosort"},
    Command.LIST: _OF_LIST,
    Command.ZERO: {SERVICE},
    Command.START_DAEMON: _OF_SYNC,
    Command.STATUS: {"json"},
}
_MUST: Final[dict[Command, set[str]]] = {
    Command.ADD: {SERVICE},
    Command.EDIT: {SERVICE},
    Command.DELETE: {SERVICE},
    Command.ADD_SERVER: {SERVICE, "real-server"},
    Command.EDIT_SERVER: {SERVICE, "real-server"},
    Command.DELETE_SERVER: {SERVICE, "real-server"},
}
"""Which options a command may, and must, have."""

_SUBJECTS: Final = ("connection", SERVICE, "timeout", "daemon")
"""What can be listed instead of all services, one at a time."""
_COUNTING: Final = {"stats", "rate", "thresholds"}

_CHANGES: Final[dict[Command, Callable[[Said], edits.Change]]] = {
    Command.ADD: lambda said: edits.service_change("add_service", said),
    Command.EDIT: lambda said: edits.service_change("edit_service", said),
    Command.DELETE: lambda said: edits.removal("remove_service", said),
    Command.CLEAR: lambda _: {"command": "clear"},
    Command.ADD_SERVER: lambda said: edits.server_change("add_server", said),
    Command.EDIT_SERVER: lambda said: edits.server_change("edit_server", said),
    Command.DELETE_SERVER: lambda said: edits.removal("remove_server", said),
}

_TIMEOUTS: Final = ("tcp_s", "tcp_fin_s", "udp_s")

_DAEMONS: Final = ("master", "backup")
_NO_SYNC: Final = "lvsd does not tell other directors of its connections: there is no such daemon"


class Request(NamedTuple):
    """What the command line asks for.

    ``service`` is the one to list, ``changes`` what is to be changed, all of it or nothing, and
    ``lines`` of ``-R`` the line on which each stood.
    """

    command: Command = Command.LIST
    service: ServiceSelector | None = None
    changes: Sequence[edits.Change] = ()
    lines: Sequence[int] = ()
    view: View = View.PLAIN
    numeric: bool = False
    connection: bool = False
    timeout: bool = False
    daemon: bool = False
    exact: bool = False
    sort: bool = True
    json: bool = False
    control: Path = DEFAULT_PATH


def parse(arguments: Sequence[str]) -> Request:
    """Return what a command line asks for. Raise CommandLineError if it is none."""
    try:
        return _parse(arguments)
    except CommandLineError as error:
        if error.status == REFUSED and not _begins_with_a_command(arguments):
            try_help = "Try `lvsadm -h' or 'lvsadm --help' for more information."
            raise CommandLineError(f"{error}\n{try_help}", REFUSED) from None
        raise


def _begins_with_a_command(arguments: Sequence[str]) -> bool:
    try:
        options = (word for word in taken_apart(arguments) if isinstance(word, Word))
        first = next(options, None)
    except CommandLineError:
        return False
    return first is not None and first.option.name in _NAMES


def _parse(arguments: Sequence[str]) -> Request:
    said, rest = Said(), list[str]()
    command, of_command = None, ""
    for word in taken_apart(arguments):
        if isinstance(word, str):
            rest.append(word)
        elif word.option.name not in _NAMES:
            said.read(word)
        elif command is not None:
            raise CommandLineError(f"invalid option `{word.spelt}'")
        else:
            command, of_command = Command(word.option.name), word.argument or ""
            if command in {Command.HELP, Command.VERSION}:
                return Request(command)
    if command is None and rest:
        raise CommandLineError(f"unexpected argument {rest[0]}", REFUSED)
    command = command or Command.LIST
    seconds = _three_timeouts(rest) if command is Command.SET else []
    if rest[len(seconds) :]:
        raise CommandLineError(f"unexpected argument {rest[len(seconds)]}")
    edits.flags(said)
    _check(command, said)
    if command in {Command.START_DAEMON, Command.STOP_DAEMON}:
        _refuse_daemon(command, of_command)
    return _request(command, said, seconds)


def _request(command: Command, said: Said, seconds: list[int]) -> Request:
    values = said.values
    change: edits.Change | None = None
    if command is Command.SET:
        change = {"command": "set_timeouts", **dict(zip(_TIMEOUTS, seconds, strict=True))}
    elif command is Command.ZERO:
        change = {"command": "zero"} | ({"service": dict(said.service)} if said.service else {})
    elif command in _CHANGES:
        change = _CHANGES[command](said)
    return Request(
        command=command,
        service=said.service if change is None else None,
        changes=[change] if change else (),
        view=next((view for view in View if view.value in values), View.PLAIN),
        numeric="numeric" in values,
        connection="connection" in values,
        timeout="timeout" in values,
        daemon="daemon" in values,
        exact="exact" in values,
        sort="nosort" not in values,
        json="json" in values,
        control=Path(values["control"]) if "control" in values else default_path(),
    )


def _three_timeouts(rest: list[str]) -> list[int]:
    if len(rest) < len(_TIMEOUTS):
        raise CommandLineError("--set option requires 3 timeout values")
    return [edits.timeout(text, least=0) for text in rest[: len(_TIMEOUTS)]]


def _check(command: Command, said: Said) -> None:
    """Refuse what is missing, does not belong to the command, or says two things at once."""
    told = _TOLD.get(command.value, command.value)
    values: dict[str, Any] = said.values
    must, may = _MUST.get(command, set()), _MAY.get(command, set()) | _ANYWHERE
    before: list[str] = []
    for option in _ORDER:
        if option not in values:
            if option in must:
                raise CommandLineError(
                    f"You need to supply the '{option}' option for the '{told}' command"
                )
            continue
        if option not in may and option not in must:
            raise CommandLineError(f"Illegal '{option}' option with the '{told}' command")
        if command is Command.LIST and option in _SUBJECTS:
            for other in before:
                raise CommandLineError(
                    f"The option '{option}' conflicts with the '{other}' option"
                    f" in the '{told}' command"
                )
            before.append(option)
    counting = _COUNTING if "connection" in values else {*_COUNTING, "persistent-conn"}
    if {*before} - {SERVICE} and counting & values.keys():
        raise CommandLineError("options conflicts in the list command")


def _refuse_daemon(command: Command, which: str) -> None:
    """Refuse to start or stop a daemon of synchronization, as where none can be had."""
    starts = command is Command.START_DAEMON
    if which not in _DAEMONS:
        raise CommandLineError(
            "illegal start-daemon parameter specified"
            if starts
            else "illegal start_daemon specified"
        )
    raise CommandLineError(_NO_SYNC if starts else "No daemon is running", REFUSED)
