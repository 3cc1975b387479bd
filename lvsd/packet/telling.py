"""How real servers are told who the client is: what the connections of one path have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from forwarders.plan import InsertProxyHeader, InsertToa, Renumber, SetDestination, SetSource
from lvsd.packet.client_address import (
    EXPERIMENTAL_KINDS,
    PROXY_BYTES,
    TOA_BYTES,
    option_protocol,
    proxy_header,
    toa,
    uoa,
)
from lvsd.packet.numbers import TCP
from lvsd.packet.tcp_options import TIMESTAMP

if TYPE_CHECKING:
    from forwarders.plan import Plan, Step
    from lvsd.packet.view import Endpoint

FAST_OPEN: Final = 34
"""TCP Fast Open's cookie (RFC 7413). A server that takes it reads data before the handshake ends,
and with it before it can know who the client is; so a client whose address is told gets none."""

_REFUSED: Final = EXPERIMENTAL_KINDS | {TIMESTAMP, FAST_OPEN}


class Way(Enum):
    """The ways to tell."""

    NONE = "not at all"
    TOA = "by an option of TCP"
    OPTION = "by an option of IPv4"
    AHEAD = "by a packet ahead"
    PROXY = "by a header ahead of the data"


@dataclass(frozen=True, slots=True)
class Telling:
    """A way to tell; ``kind`` is TOA's option kind, ``protocol`` the connections'."""

    way: Way
    protocol: int
    kind: int = 0
    overhead: int = 0
    """How many bytes longer than the client's packet the server's may be."""
    forgeable: frozenset[int] = EXPERIMENTAL_KINDS
    """The kinds of TCP option that a client must not send: all that could be TOA. Even where none
    is told, a server may look for one."""

    refused: frozenset[int] = EXPERIMENTAL_KINDS | {TIMESTAMP}
    """Those that its SYN must not have, besides: the clocks of clients are unrelated."""
    header: int = 0
    """How many bytes go ahead of a TCP client's data."""

    def told(self, virtual: Endpoint, client: Endpoint) -> bytes:
        """Return the bytes that tell of a client; none where nothing is told."""
        match self.way:
            case Way.TOA:
                return toa(*client, self.kind)
            case Way.OPTION:
                return uoa(*client)
            case Way.AHEAD:
                return option_protocol(*client)
            case Way.PROXY:
                return proxy_header(self.protocol, client, virtual)
            case Way.NONE:
                return b""


def telling(plan: Plan, protocol: int) -> Telling:
    """Return the way to tell that one connection's plan has, for all that differ in their ends.

    Raise TypeError for a step that is not FULLNAT's, ValueError if the stream is to keep its
    numbers, or if what is to be told is not the connection's own client.
    """
    if Renumber() not in plan.request:
        raise ValueError("FULLNAT renumbers")
    virtual, client = ends(plan.reply or ())
    found = Telling(Way.NONE, protocol)
    for step in plan.request:
        match step:
            case InsertToa(address, port, kind):
                found = _by_option(len(address), protocol, kind)
                named: tuple[Endpoint, ...] = ((address, port),)
            case InsertProxyHeader(source, source_port, destination, destination_port):
                found = _by_header(PROXY_BYTES[len(source)], protocol)
                named = (source, source_port), (destination, destination_port)
            case SetSource() | SetDestination() | Renumber():
                continue
            case _:
                raise TypeError(f"FULLNAT knows no step {step!r}")
        if named != (client, virtual)[: len(named)]:
            raise ValueError(f"{step} tells of another client than the connection's")
    return found


def ends(steps: tuple[Step, ...]) -> tuple[Endpoint, Endpoint]:
    """Return the source and the destination that steps set; raise ValueError if they don't."""
    source = next((step for step in steps if isinstance(step, SetSource)), None)
    destination = next((step for step in steps if isinstance(step, SetDestination)), None)
    if source is None or destination is None or source.port is None or destination.port is None:
        raise ValueError("FULLNAT sets both ends in both directions, with their ports")
    return (source.address, source.port), (destination.address, destination.port)


def _by_option(width: int, protocol: int, kind: int) -> Telling:
    """Return TOA, or UOA in the shape that it has for addresses so long."""
    if protocol == TCP:
        forgeable = EXPERIMENTAL_KINDS | {kind}
        return Telling(
            Way.TOA, protocol, kind, TOA_BYTES[width], forgeable, refused=_REFUSED | {kind}
        )
    if width == 4:
        return Telling(Way.OPTION, protocol, overhead=TOA_BYTES[width])
    return Telling(Way.AHEAD, protocol)


def _by_header(size: int, protocol: int) -> Telling:
    """Return the PROXY header: once in a stream, in every datagram."""
    if protocol == TCP:
        return Telling(Way.PROXY, protocol, refused=_REFUSED, header=size)
    return Telling(Way.PROXY, protocol, overhead=size)
