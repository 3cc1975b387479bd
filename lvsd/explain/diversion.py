"""Where lvsd's rules would send a packet (`lvsd.io.ruleset`), and whose connection it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core.related import AH, ESP, ISAKMP_PORT
from lvsd.core.verdict import Hook
from lvsd.packet.icmp import embedded, is_error
from lvsd.packet.numbers import UDP
from lvsd.packet.view import Packet, key, split_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.core.connection import Connection
    from lvsd.io.ruleset import Diverted, Endpoint

_ENDS: Final = {4: (slice(12, 16), slice(16, 20)), 6: (slice(8, 24), slice(24, 40))}
"""Where a header of IP has its source and its destination."""


class Belonging(NamedTuple):
    """The connection that a packet is of, if any, and the key by which that was found."""

    connection: Connection | None
    key: bytes


def belonging(by_key: Mapping[bytes, Connection], packet: Packet) -> Belonging:
    """Return whose a packet is: an ICMP error, AH and ESP are of one too (`lvsd.core.related`)."""
    asked, quoted = packet.key, Packet()
    if packet.protocol in {AH, ESP}:
        asked = key(UDP, packet.source, ISAKMP_PORT, packet.destination, ISAKMP_PORT)
    elif is_error(packet) and embedded(packet, quoted) is None:
        ends = (quoted.destination, quoted.destination_port, quoted.source, quoted.source_port)
        asked = key(quoted.protocol, *ends)
    return Belonging(by_key.get(asked), asked)


def hook_of(packet: Packet, diverted: Diverted, mark: int) -> Hook | None:
    """Return the hook that the rules divert a packet at, None where none does."""
    if mark in diverted.marks:
        return Hook.PREROUTING
    number, source, destination = packet.protocol, packet.source, packet.destination
    if is_error(packet):
        vips = {vip for vip, _, _ in diverted.endpoints}
        if destination in vips | diverted.local_addresses | diverted.tunnel_ends:
            return Hook.PREROUTING
        return Hook.FORWARD if source in {rip for rip, _, _ in diverted.servers} else None
    (_, sport), (_, dport) = split_key(packet.key)
    ipsec = number in {AH, ESP}
    told = (
        (_among(diverted.endpoints, destination, number, dport), Hook.PREROUTING),
        (ipsec and destination in diverted.ipsec, Hook.PREROUTING),
        (
            destination in diverted.local_addresses
            and _among(diverted.fullnat_servers, source, number, sport),
            Hook.PREROUTING,
        ),
        (_among(diverted.servers, source, number, sport), Hook.FORWARD),
        (ipsec and source in diverted.ipsec_servers, Hook.FORWARD),
        (_among(diverted.own_servers, source, number, sport), Hook.OUTPUT),
    )
    return next((hook for matches, hook in told if matches), None)


def concerns(data: bytes, diverted: Diverted, mark: int) -> bool:
    """Tell whether bytes that are no good packet have an end that the rules know."""
    ends = {data[place] for place in _ENDS.get(data[0] >> 4, ())}
    known = {address for address, _, _ in diverted.endpoints | diverted.servers}
    return mark in diverted.marks or not ends.isdisjoint(known | diverted.local_addresses)


def _among(ends: frozenset[Endpoint], address: bytes, protocol: int, port: int) -> bool:
    return not ends.isdisjoint({(address, protocol, port), (address, protocol, 0)})
