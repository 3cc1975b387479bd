"""What a client may ask for: one function per method, and the table of them.

A function gets the director and validated parameters. It returns its result, or an iterator:
then the result is a list, which the server sends in slices. What cannot be done is a
`ControlError`, its text the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import lvsd
from lvsd.control.describe import connection_entry, service_entry, timeouts_entry
from lvsd.control.protocol import PROTOCOL_NAMES, Code
from lvsd.core.commands import Zero
from lvsd.core.values import ServiceKey
from lvsd.errors import ControlError
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.control.describe import DirectorView
    from lvsd.control.protocol import ConnectionEntry, ServiceEntry, StatusEntry, TimeoutsEntry

Counters: TypeAlias = Callable[[], Mapping[str, Mapping[str, int]]]
"""Tells what is counted around the director: groups by name, counters by name."""

_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()}
_SELECTABLE: Final = ("tcp", "udp", "sctp")
_MAX_SHOWN: Final = 60
"""Characters of what a client sent that an answer repeats."""


class RequestError(ControlError):
    """A request that is wrong in itself, whatever the director's state."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Context:
    """What methods work on; ``started`` is the director's ``now`` when the daemon began."""

    balancer: DirectorView
    started: float
    counters: Counters = dict


# --- parameters -----------------------------------------------------------------------------


class NoParams:
    """Nothing."""

    @classmethod
    def read(cls, params: dict[str, object]) -> NoParams:
        """Return the parameters. Raise ValueError."""
        _want_only((), params)
        return cls()


@dataclass(frozen=True, slots=True)
class ServiceParams:
    """One service, by the core's name for it, or all of them."""

    service: ServiceKey | None

    @classmethod
    def read(cls, params: dict[str, object]) -> ServiceParams:
        """Return the parameters. Raise ValueError."""
        _want_only(("service",), params)
        selector = params.get("service")
        if selector is None:
            return cls(None)
        if not isinstance(selector, dict):
            raise ValueError(f"service: {_shown(selector)} is no object")  # noqa: TRY004 - the client's mistake
        return cls(_selected(selector))


def _selected(selector: dict[str, object]) -> ServiceKey:
    """Return the service that a `lvsd.control.protocol.ServiceSelector` names. Raise ValueError."""
    _want_only(("protocol", "address", "port", "fwmark", "family"), selector, "service.")
    protocol, address = selector.get("protocol"), selector.get("address")
    port = _number(selector, "port", range(1 << 16), 0)
    fwmark = _number(selector, "fwmark", range(1 << 32), 0)
    family = _number(selector, "family", (4, 6), 4)
    if not (protocol is None or protocol in _SELECTABLE):
        expected = ", ".join(_SELECTABLE)
        raise ValueError(f"service.protocol: {_shown(protocol)} is none of {expected}")
    if not (address is None or isinstance(address, str)):
        raise ValueError(f"service.address: {_shown(address)} is no string")
    if (protocol is not None and address is not None) == bool(fwmark):
        raise ValueError("service: give protocol, address and port, or a fwmark")
    if protocol is None or address is None:
        return ServiceKey(fwmark=fwmark, family=family)
    try:
        vip = pack(address)
    except ValueError as error:
        raise ValueError(f"service.address: {error}") from None
    return ServiceKey(_NUMBERS[str(protocol)], vip, port, family=4 if len(vip) == 4 else 6)


def _number(selector: dict[str, object], word: str, allowed: Container[int], default: int) -> int:
    value = selector.get(word, default)
    if type(value) is not int or value not in allowed:
        raise ValueError(f"service.{word}: {_shown(value)} is no number that it can be")
    return value


def _want_only(known: Collection[str], given: Mapping[str, object], before: str = "") -> None:
    for word in given:
        if word not in known:
            there = f"; there are: {', '.join(known)}" if known else ""
            raise ValueError(f"{before}{word[:_MAX_SHOWN]}: unknown{there}")


def _shown(value: object) -> str:
    return json.dumps(value)[:_MAX_SHOWN]


# --- methods --------------------------------------------------------------------------------


def list_services(context: Context, params: ServiceParams) -> Iterator[ServiceEntry]:
    """Describe one service or all, with their real servers."""
    services = context.balancer.services
    chosen = list(services) if params.service is None else [services.get(params.service)]
    now = context.balancer.now
    return (service_entry(service, now) for service in chosen)


def list_connections(context: Context, _: NoParams) -> Iterator[ConnectionEntry]:
    """Describe every connection and template."""
    balancer = context.balancer
    return (connection_entry(each, balancer.now) for each in balancer.connections())


def timeouts(context: Context, _: NoParams) -> TimeoutsEntry:
    """Tell the timeouts that can be set."""
    return timeouts_entry(context.balancer.timeouts())


def zero(context: Context, params: ServiceParams) -> None:
    """Set the counters of one service, or of all, to zero."""
    context.balancer.apply([Zero(params.service)], context.balancer.now)


def status(context: Context, _: NoParams) -> StatusEntry:
    """Tell how the daemon is."""
    balancer = context.balancer
    return {
        "version": lvsd.__version__,
        "uptime_s": int(balancer.now - context.started),
        "services": len(balancer.services),
        "counters": dict(balancer.counters()),
        "drops": dict(balancer.dropped()),
        "groups": {name: dict(values) for name, values in context.counters().items()},
    }


# --- dispatch -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Method:
    """A function, and what makes its parameters of an object, or raises ValueError."""

    params: Callable[[dict[str, object]], object]
    run: Callable[..., object]


METHODS: Mapping[str, Method] = {
    "connections": Method(NoParams.read, list_connections),
    "list": Method(ServiceParams.read, list_services),
    "status": Method(NoParams.read, status),
    "timeouts": Method(NoParams.read, timeouts),
    "zero": Method(ServiceParams.read, zero),
}


def call(context: Context, line: bytes) -> object:
    """Carry out a request; return its result, an iterator where that is a list.

    Raise `RequestError` if the line is wrong, `ControlError` if it cannot be done.
    """
    try:
        name, params = _request(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(Code.BAD_REQUEST, str(error)) from None
    method = METHODS.get(name)
    if method is None:
        known = ", ".join(METHODS)
        raise RequestError(Code.UNKNOWN_METHOD, f"no method {name!r}; there are: {known}")
    try:
        read = method.params(params)
    except ValueError as error:
        raise RequestError(Code.BAD_PARAMS, str(error)) from None
    return method.run(context, read)


def _request(line: bytes) -> tuple[str, dict[str, object]]:
    """Return the method's name and its parameters. Raise ValueError."""
    try:
        request = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise ValueError(f"{_shown(request)} is no object")  # noqa: TRY004 - the client's mistake
    _want_only(("method", "params"), request)
    name, params = request.get("method"), request.get("params", {})
    if name is None:
        raise ValueError("method: missing")
    if not isinstance(name, str):
        raise ValueError(f"method: {_shown(name)} is no string")  # noqa: TRY004 - same reason
    if not isinstance(params, dict):
        raise ValueError(f"params: {_shown(params)} is no object")  # noqa: TRY004 - same reason
    return name, params
