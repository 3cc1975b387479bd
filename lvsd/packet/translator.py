"""FULLNAT's compiler: from the plan of one connection to the translations of all of a path's.

A plan says how a real server is told who the client is; each such step has its layer here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from forwarders.plan import InsertProxyHeader, InsertToa, Renumber, SetDestination, SetSource
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.tcp_translation import TcpTranslation
from lvsd.packet.tell_option import Toa, Uoa, UoaAhead
from lvsd.packet.tell_proxy import ProxyDatagrams, ProxyStream
from lvsd.packet.telling import TcpTelling, UdpTelling
from lvsd.packet.udp_translation import UdpTranslation

if TYPE_CHECKING:
    from forwarders.plan import Plan, Step
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.translation import Translation
    from lvsd.packet.view import Endpoint

_Tells: TypeAlias = InsertToa | InsertProxyHeader
"""The steps that tell who the client is."""


class Translator:
    """Makes the translations of connections whose plans differ in their ends and in nothing else.

    ``plan`` is the plan of any one of them, ``protocol`` theirs; ``counts`` is shared by all.

    Raise TypeError for a step that is not FULLNAT's, ValueError for another protocol than TCP and
    UDP, steps that are missing, ends of two families, or a client told that is not the plan's own.
    """

    __slots__ = ("_tcp", "_udp", "growth")

    def __init__(self, plan: Plan, protocol: int, counts: ClientAddressCounts) -> None:
        if protocol not in {TCP, UDP}:
            raise ValueError(f"FULLNAT translates TCP and UDP, not protocol {protocol}")
        exchanged = *_ends(plan.request), *_ends(plan.reply or ())
        if {len(address) for address, _ in exchanged} not in ({4}, {16}):
            raise ValueError("the old and new addresses must be all IPv4 or all IPv6")
        step = _tells(plan)
        self._tcp = _tcp_telling(step, counts) if protocol == TCP else None
        self._udp = _udp_telling(step, counts)
        self.growth = self._udp.growth if protocol == UDP else 0
        """How many bytes longer every request becomes, whether there is room or not."""

    def translation(self, key: bytes, reply_key: bytes, isn: int) -> Translation:
        """Return the translation of a connection with these keys; see `Translation`.

        ``isn`` is the initial sequence number that its server is to see; UDP has none.
        """
        if self._tcp is not None:
            return TcpTranslation(self._tcp, key, reply_key, isn)
        return UdpTranslation(self._udp, key, reply_key)


def _tcp_telling(step: _Tells | None, counts: ClientAddressCounts) -> TcpTelling:
    match step:
        case InsertToa(address, _, kind):
            return Toa(counts, kind, len(address))
        case InsertProxyHeader(source):
            return ProxyStream(counts, len(source))
        case None:
            return TcpTelling(counts)


def _udp_telling(step: _Tells | None, counts: ClientAddressCounts) -> UdpTelling:
    match step:
        case InsertToa(address):
            return Uoa(counts) if len(address) == 4 else UoaAhead(counts)
        case InsertProxyHeader(source):
            return ProxyDatagrams(counts, len(source))
        case None:
            return UdpTelling(counts)


def _tells(plan: Plan) -> _Tells | None:
    """Return the step that tells who the client is, None if none does.

    Raise TypeError for a step that is not FULLNAT's, ValueError if the stream is to keep its
    numbers, or if what is to be told is not the connection's own client.
    """
    if Renumber() not in plan.request:
        raise ValueError("FULLNAT renumbers")
    virtual, client = _ends(plan.reply or ())
    found: _Tells | None = None
    for step in plan.request:
        match step:
            case InsertToa(address, port):
                named: tuple[Endpoint, ...] = ((address, port),)
                found = step
            case InsertProxyHeader(source, source_port, destination, destination_port):
                named = (source, source_port), (destination, destination_port)
                found = step
            case SetSource() | SetDestination() | Renumber():
                continue
            case _:
                raise TypeError(f"FULLNAT knows no step {step!r}")
        if named != (client, virtual)[: len(named)]:
            raise ValueError(f"{step} tells of another client than the connection's")
    return found


def _ends(steps: tuple[Step, ...]) -> tuple[Endpoint, Endpoint]:
    """Return the source and the destination that steps set; raise ValueError if they don't."""
    source = next((step for step in steps if isinstance(step, SetSource)), None)
    destination = next((step for step in steps if isinstance(step, SetDestination)), None)
    if source is None or destination is None or source.port is None or destination.port is None:
        raise ValueError("FULLNAT sets both ends in both directions, with their ports")
    return (source.address, source.port), (destination.address, destination.port)
