"""Changes as clients ask for them: from an object of the control protocol to commands.

::

    {"commands": [{"command": "add_service", "service": {"protocol": "tcp", ...}},
                  {"command": "add_server", "service": {...}, "server": {"address": ...}}]}

What is not given has its default, in an edit, too: that says what is to be, not what is new in it
(as ``ipvsadm -E`` and ``-e`` do).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import schedulers
from forwarders import FORWARDERS, Dr, Fullnat, Nat, Tun
from forwarders.fullnat import TOA_KIND, ClientAddress
from forwarders.plan import TunnelKind
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
from lvsd.core.local_pool import PORTS, LocalPool
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.commands import Command
    from lvsd.core.values import ServiceKey

_MAX_S: Final = 31 * 86400
"""The longest timeout, in seconds: ipvsadm's bound."""
_SOME: Final = range(1 << 32)
_SECONDS: Final = range(_MAX_S + 1)
_PORTS: Final = range(1 << 16)
_NAME_LENGTH: Final = 64

_SERVICE: Final = (
    *SELECTOR,
    *("scheduler", "flags", "persistence_s", "prefix", "one_packet", "name", "mss_clamp"),
    *("max_connections", "slow_start_s", "local_addresses", "local_ports"),
    *("tcp_timeout_s", "udp_timeout_s", "udp_answered_timeout_s"),
)
_SERVER: Final = (
    *("address", "port", "forward", "weight", "upper", "lower"),
    *("tunnel", "tunnel_port", "tunnel_checksum", "client_address", "toa_kind"),
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
    """Return a refusal that says which command of a list it is about, if there are several."""
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
    scheduler = reader.text("scheduler", "wlc")
    flags = frozenset(reader.texts("flags"))
    _check_scheduler(scheduler, flags)
    low, high = reader.numbers("local_ports", _PORTS, PORTS)
    if not 0 < low <= high:
        raise ValueError(f"{reader.at}local_ports: {low} to {high} is no range of ports")
    name = reader.text("name", "")
    if len(name) > _NAME_LENGTH or not name.isprintable():
        raise ValueError(f"{reader.at}name: expected up to {_NAME_LENGTH} printable characters")
    return ServiceConfig(
        selected(reader),
        scheduler=scheduler,
        flags=flags,
        name=name,
        persistence_s=reader.number("persistence_s", _SECONDS, 0),
        prefix=reader.number("prefix", range(1, 129), 0) or None,
        one_packet=reader.boolean("one_packet"),
        mss_clamp=reader.boolean("mss_clamp"),
        max_connections=reader.number("max_connections", _SOME, 0),
        slow_start_s=reader.number("slow_start_s", _SECONDS, 0),
        local=LocalPool(reader.addresses("local_addresses"), low, high),
        timing=Timing(
            reader.number("tcp_timeout_s", _SECONDS, 0),
            reader.number("udp_timeout_s", _SECONDS, 0),
            reader.number("udp_answered_timeout_s", _SECONDS, 0),
        ),
    )


def _check_scheduler(name: str, flags: frozenset[str]) -> None:
    """Raise ControlError for a scheduler, or a flag of it, that there is not."""
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
        weight=reader.number("weight", _PORTS, 1),
        upper=reader.number("upper", _SOME, 0),
        lower=reader.number("lower", _SOME, 0),
    )


def _forwarder(reader: Reader) -> Forwarder:
    name = reader.word("forward", FORWARDERS, "nat")
    for word, mode in _OF_ONE_MODE.items():
        if reader.has(word) and mode != name:
            raise ValueError(f"{reader.at}{word}: only with forward {mode}")
    match name:
        case "tun":
            kind: Any = reader.word("tunnel", get_args(TunnelKind), "ipip")
            port = reader.number("tunnel_port", _PORTS, 0)
            if (kind == "gue") != bool(port):
                raise ValueError(f"{reader.at}tunnel_port: a gue tunnel has one, and no other has")
            return Tun(kind, port, reader.boolean("tunnel_checksum"))
        case "fullnat":
            told: Any = reader.word("client_address", get_args(ClientAddress), "toa")
            return Fullnat(told, reader.number("toa_kind", range(1, 256), TOA_KIND))
        case "dr":
            return _DR
    return _NAT


_OF_ONE_MODE: Final = {
    "tunnel": "tun",
    "tunnel_port": "tun",
    "tunnel_checksum": "tun",
    "client_address": "fullnat",
    "toa_kind": "fullnat",
}
_NAT, _DR = Nat(), Dr()
