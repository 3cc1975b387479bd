"""What a client may ask for: one function per method, and the table of them.

A function gets the director and validated parameters. It returns its result, or an iterator:
then the result is a list, which the server sends in slices. What cannot be done is a
`ControlError`, its text the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import lvsd
from lvsd.control.describe import connection_entry, service_entry, timeouts_entry
from lvsd.control.protocol import Code, decode_once
from lvsd.control.selecting import SELECTOR, Reader, selected, shown
from lvsd.core.commands import Zero
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lvsd.control.describe import DirectorView
    from lvsd.control.protocol import ConnectionEntry, ServiceEntry, StatusEntry, TimeoutsEntry
    from lvsd.core.values import ServiceKey

Counters: TypeAlias = Callable[[], Mapping[str, Mapping[str, int | str]]]
"""Tells what is counted around the director: groups by name, counters by name."""


class RequestError(ControlError):
    """A request that is wrong in itself, whatever the director's state."""

    code: Code

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
        Reader(params, "").want_only(())
        return cls()


@dataclass(frozen=True, slots=True)
class ServiceParams:
    """One service, by the core's name for it, or all of them."""

    service: ServiceKey | None

    @classmethod
    def read(cls, params: dict[str, object]) -> ServiceParams:
        """Return the parameters. Raise ValueError."""
        reader = Reader(params, "")
        reader.want_only(("service",))
        if params.get("service") is None:
            return cls(None)
        selector = reader.table("service")
        selector.want_only(SELECTOR)
        return cls(selected(selector))


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
    name, params = requested(line, METHODS)
    method = METHODS[name]
    try:
        read = method.params(params)
    except ValueError as error:
        raise RequestError(Code.BAD_PARAMS, str(error)) from None
    return method.run(context, read)


def requested(line: bytes, known: Collection[str]) -> tuple[str, dict[str, object]]:
    """Return which of the known methods a line asks for, and its parameters. Raise RequestError."""
    try:
        name, params = parse(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(Code.BAD_REQUEST, str(error)) from None
    if name not in known:
        there = ", ".join(known)
        raise RequestError(Code.UNKNOWN_METHOD, f"no method {name!r}; there are: {there}")
    return name, params


def parse(line: bytes) -> tuple[str, dict[str, object]]:
    """Return the method's name and its parameters. Raise ValueError."""
    try:
        request = decode_once(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise ValueError(f"{shown(request)} is no object")  # noqa: TRY004 - the client's mistake
    Reader(request, "").want_only(("method", "params"))
    name, params = request.get("method"), request.get("params", {})
    if name is None:
        raise ValueError("method: missing")
    if not isinstance(name, str):
        raise ValueError(f"method: {shown(name)} is no string")  # noqa: TRY004 - same reason
    if not isinstance(params, dict):
        raise ValueError(f"params: {shown(params)} is no object")  # noqa: TRY004 - same reason
    return name, params
