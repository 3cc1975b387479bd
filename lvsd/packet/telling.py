"""How one connection's real server is told who the client is, made from the plan's steps."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

from forwarders.plan import InsertProxyHeader, InsertToa, Renumber, SetDestination, SetSource
from lvsd.packet.client_address import (
    EXPERIMENTAL_KINDS,
    option_protocol,
    proxy_header,
    toa,
    uoa,
)
from lvsd.packet.numbers import TCP

if TYPE_CHECKING:
    from forwarders.plan import Step
    from lvsd.packet.view import Endpoint


class Way(Enum):
    """The ways to tell."""

    NONE = "not at all"
    TOA = "by an option of TCP"
    OPTION = "by an option of IPv4"
    AHEAD = "by a packet ahead"
    PROXY = "by a header ahead of the data"


def telling(steps: tuple[Step, ...], protocol: int) -> tuple[Way, bytes]:
    """Return the way in which requests tell, and the bytes that do.

    Raise TypeError for a step that is not FULLNAT's, ValueError if the stream is to keep its
    numbers.
    """
    if Renumber() not in steps:
        raise ValueError("FULLNAT renumbers")
    way, told = Way.NONE, b""
    for step in steps:
        match step:
            case InsertToa(address, port, kind):
                if protocol == TCP:
                    way, told = Way.TOA, toa(address, port, kind)
                elif len(address) == 4:
                    way, told = Way.OPTION, uoa(address, port)
                else:
                    way, told = Way.AHEAD, option_protocol(address, port)
            case InsertProxyHeader(source, source_port, destination, destination_port):
                ends = (source, source_port), (destination, destination_port)
                way, told = Way.PROXY, proxy_header(protocol, *ends)
            case SetSource() | SetDestination() | Renumber():
                pass
            case _:
                raise TypeError(f"FULLNAT knows no step {step!r}")
    return way, told


@cache
def forgeable(way: Way, first: bytes) -> frozenset[int]:
    """Return the kinds of TCP option that a client must not send: all that could be TOA.

    ``first`` is the first byte of what is told, of TOA its kind. Even where no TOA is told, a
    server may look for one.
    """
    return EXPERIMENTAL_KINDS.union(first) if way is Way.TOA else EXPERIMENTAL_KINDS


def ends(steps: tuple[Step, ...]) -> tuple[Endpoint, Endpoint]:
    """Return the source and the destination that steps set; raise ValueError if they don't."""
    source = next((step for step in steps if isinstance(step, SetSource)), None)
    destination = next((step for step in steps if isinstance(step, SetDestination)), None)
    if source is None or destination is None or source.port is None or destination.port is None:
        raise ValueError("FULLNAT sets both ends in both directions, with their ports")
    return (source.address, source.port), (destination.address, destination.port)
