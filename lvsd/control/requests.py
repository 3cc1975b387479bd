"""Changes as clients ask for them: from an object of the control protocol to commands.

::

    {"commands": [{"command": "add_service", "service": {"protocol": "tcp", ...}},
                  {"command": "add_server", "service": {...}, "server": {"address": ...}}]}

What is not given has its default, in an edit, too: that says what is to be, not what is new in it
(as ``ipvsadm -E`` and ``-e`` do).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import schedulers
from forwarders import FORWARDERS
from lvsd import keys
from lvsd.control.changes import TIMEOUTS
from lvsd.control.selecting import SELECTOR, Reader, selected
from lvsd.core.commands import (
    AddServer,
    AddService,
    Clear,
    Drain,
    EditServer,
    EditService,
    RemoveServer,
    RemoveService,
    SetTimeouts,
    Undrain,
    Zero,
)
from lvsd.core.fitting import local_fault
from lvsd.core.values import ServerConfig, service_config
from lvsd.errors import ControlError
from lvsd.keys import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forwarders.base import Forwarder
    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceConfig, ServiceKey
    from lvsd.keys import Key

_SECONDS: Final = range(keys.MAX_S + 1)
_PORTS: Final = range(1 << 16)
_NAME_LENGTH: Final = 64

_OF_ONE_WAY: Final = {each.word: way for way, own in keys.FORWARDING.items() for each in own}
_SERVICE: Final = (*SELECTOR, *(each.word for each in keys.SERVICE))
_SERVER: Final = (
    *("address", "port", "forward"),
    *(each.word for each in keys.SERVER),
    *_OF_ONE_WAY,
)


def read_commands(params: dict[str, object]) -> list[Command]:
    """Return the commands of a request.

    Raise ValueError where the request is wrong in itself, ControlError where lvsd cannot do it.
    """
    reader = Reader(params, "")
    reader.want_only(("commands",))
    given = params.get("commands")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise ValueError("commands: no list of objects")
    found = []
    for number, each in enumerate(given):
        try:
            found.append(_command(Reader(each, f"commands[{number}].")))
        except ControlError as error:
            error.at = number
            raise
    return found


def in_its_place(error: ControlError, number_of_commands: int) -> ControlError:
    """Return a refusal that names the command of a list, if there are several."""
    if error.at is None or number_of_commands == 1:
        return error
    return ControlError(f"commands[{error.at}]: {error}")


def _command(reader: Reader) -> Command:
    name = reader.word("command", _WORDS, None)
    reader.want_only(("command", *_WORDS[name]))
    match name:
        case "add_service":
            return AddService(_service(reader.table("service")))
        case "edit_service":
            return EditService(_service(reader.table("service")))
        case "remove_service":
            return RemoveService(_selected(reader))
        case "set_timeouts":
            return SetTimeouts(*(reader.number(each, _SECONDS, 0) for each in TIMEOUTS))
        case "zero":
            return Zero(_selected(reader) if reader.has("service") else None)
        case "clear":
            return Clear()
    return _of_server(name, reader)


def _of_server(name: str, reader: Reader) -> Command:
    service = _selected(reader)
    match name:
        case "add_server":
            return AddServer(service, _server(reader.table("server")))
        case "edit_server":
            return EditServer(service, _server(reader.table("server")))
        case "remove_server":
            return RemoveServer(service, *_place(reader))
        case "drain":
            is_given = reader.has("deadline_s")
            deadline_s = reader.number("deadline_s", _SECONDS, 0) if is_given else None
            return Drain(service, *_place(reader), deadline_s)
    return Undrain(service, *_place(reader))


_WORDS: Final = {
    "add_service": ("service",),
    "edit_service": ("service",),
    "remove_service": ("service",),
    "add_server": ("service", "server"),
    "edit_server": ("service", "server"),
    "remove_server": ("service", "server"),
    "drain": ("service", "server", "deadline_s"),
    "undrain": ("service", "server"),
    "set_timeouts": TIMEOUTS,
    "zero": ("service",),
    "clear": (),
}
"""What each command has beside its name."""


def _selected(reader: Reader) -> ServiceKey:
    service = reader.table("service")
    service.want_only(SELECTOR)
    return selected(service)


def _place(reader: Reader) -> tuple[bytes, int]:
    server = reader.table("server")
    server.want_only(("address", "port"))
    return server.address("address"), server.number("port", _PORTS, 0)


def _service(reader: Reader) -> ServiceConfig:
    reader.want_only(_SERVICE)
    config = service_config(selected(reader), _values(reader, keys.SERVICE))
    _check_scheduler(config.scheduler, config.flags)
    low, high = config.local.ports
    if not 0 < low <= high:
        raise ValueError(f"{reader.at}local_ports: {low} to {high} is no range of ports")
    if len(config.name) > _NAME_LENGTH or not config.name.isprintable():
        raise ValueError(f"{reader.at}name: expected up to {_NAME_LENGTH} printable characters")
    if config.prefix is not None and not config.persistence_s:
        raise ValueError(f"{reader.at}prefix: only with persistence_s")
    if fault := local_fault(config):
        raise ValueError(f"{reader.at}local_addresses: {fault}")
    return config


def _values(reader: Reader, known: Iterable[Key]) -> dict[str, Any]:
    """Return what a request says for some keys, by their places in the core."""
    return {each.at: _read(reader, each) for each in known}


def _read(reader: Reader, key: Key) -> object:
    match key.kind:
        case Kind.NUMBER:
            return reader.number(key.word, key.allowed, key.default)
        case Kind.SECONDS:
            return reader.number(key.word, _SECONDS, key.default)
        case Kind.LENGTH:
            return reader.number(key.word, key.allowed, 0) or None
        case Kind.SWITCH:
            return reader.boolean(key.word)
        case Kind.TEXT:
            return reader.text(key.word, key.default)
        case Kind.FLAGS:
            return frozenset(reader.texts(key.word))
        case Kind.CHOICE:
            return reader.word(key.word, key.allowed, key.default)
        case Kind.ADDRESSES:
            return reader.addresses(key.word)
        case Kind.PORTS:
            return reader.numbers(key.word, key.allowed, key.default)


def _check_scheduler(name: str, flags: frozenset[str]) -> None:
    """Raise ControlError for an unknown scheduler, or an unknown flag of one."""
    try:
        scheduler = schedulers.load(name)
    except schedulers.UnknownSchedulerError:
        raise ControlError("Scheduler or persistence engine not found") from None
    except schedulers.BrokenSchedulerError as error:
        raise ControlError(str(error)) from None
    for flag in sorted(flags - scheduler.known_flags):
        known = ", ".join(sorted(scheduler.known_flags)) or "none"
        raise ControlError(f"scheduler {name} has no flag {flag}; there are: {known}")


def _server(reader: Reader) -> ServerConfig:
    reader.want_only(_SERVER)
    return ServerConfig(
        reader.address("address"),
        reader.number("port", _PORTS, 0),
        _forwarder(reader),
        **_values(reader, keys.SERVER),
    )


def _forwarder(reader: Reader) -> Forwarder:
    name = reader.word("forward", FORWARDERS, "nat")
    for word, way in _OF_ONE_WAY.items():
        if reader.has(word) and way != name:
            raise ValueError(f"{reader.at}{word}: only with forward {way}")
    values = _values(reader, keys.FORWARDING.get(name, ()))
    if name == "tun" and (values["kind"] == "gue") != bool(values["port"]):
        raise ValueError(f"{reader.at}tunnel_port: a gue tunnel has one, and no other has")
    return _made(name, **values)


@cache
def _made(name: str, **values: Any) -> Forwarder:
    """Return a forwarder; servers share equal ones, so a message to an engine has each once."""
    return FORWARDERS[name](**values)
