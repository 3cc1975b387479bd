"""What a client may ask for: one function per method, and the table of them.

A function gets the director and validated parameters. It returns its result, or an iterator:
then the result is a list, which the server sends in slices. What cannot be done is a
`ControlError`, its text the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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


class NoParams(BaseModel):
    """Nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Selector(NoParams):
    """One service: protocol, address and port, or fwmark and family."""

    protocol: Literal["tcp", "udp", "sctp"] | None = None
    address: str | None = None
    port: int = Field(default=0, ge=0, le=0xFFFF)
    fwmark: int = Field(default=0, ge=0, le=0xFFFFFFFF)
    family: Literal[4, 6] = 4

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        by_endpoint = self.protocol is not None and self.address is not None
        if by_endpoint == bool(self.fwmark):
            raise ValueError("give protocol, address and port, or a fwmark")
        if self.address is not None:
            pack(self.address)
        return self

    @property
    def key(self) -> ServiceKey:
        """The core's name for it."""
        if self.protocol is None or self.address is None:
            return ServiceKey(fwmark=self.fwmark, family=self.family)
        vip = pack(self.address)
        family = 4 if len(vip) == 4 else 6
        return ServiceKey(_NUMBERS[self.protocol], vip, self.port, family=family)


class ServiceParams(NoParams):
    """One service, or all of them."""

    service: Selector | None = None


# --- methods --------------------------------------------------------------------------------


def list_services(context: Context, params: ServiceParams) -> Iterator[ServiceEntry]:
    """Describe one service or all, with their real servers."""
    services = context.balancer.services
    chosen = list(services) if params.service is None else [services.get(params.service.key)]
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
    key = None if params.service is None else params.service.key
    context.balancer.apply([Zero(key)], context.balancer.now)


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
    """A function and the model of its parameters."""

    params: type[BaseModel]
    run: Callable[..., object]


METHODS: Mapping[str, Method] = {
    "connections": Method(NoParams, list_connections),
    "list": Method(ServiceParams, list_services),
    "status": Method(NoParams, status),
    "timeouts": Method(NoParams, timeouts),
    "zero": Method(ServiceParams, zero),
}


class Request(BaseModel):
    """A line from a client."""

    model_config = ConfigDict(extra="forbid", strict=True)

    method: str
    params: dict[str, object] = Field(default_factory=dict)


def call(context: Context, line: bytes) -> object:
    """Carry out a request; return its result, an iterator where that is a list.

    Raise `RequestError` if the line is wrong, `ControlError` if it cannot be done.
    """
    try:
        request = Request.model_validate_json(line)
    except ValidationError as error:
        raise RequestError(Code.BAD_REQUEST, _explain(error)) from None
    method = METHODS.get(request.method)
    if method is None:
        known = ", ".join(METHODS)
        raise RequestError(Code.UNKNOWN_METHOD, f"no method {request.method!r}; there are: {known}")
    try:
        params = method.params.model_validate(request.params)
    except ValidationError as error:
        raise RequestError(Code.BAD_PARAMS, _explain(error)) from None
    return method.run(context, params)


def _explain(error: ValidationError) -> str:
    """Return what is wrong where, in one line."""
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]]))
        for each in error.errors(include_url=False)
    )
