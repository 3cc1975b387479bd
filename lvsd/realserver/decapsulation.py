"""Take the outer header off a tunnelled packet, and decide whether the host may have the inner one.

Whoever can reach a tunnel's end can put any source address into an inner packet, and no filter on
the way has seen it. So only packets to the virtual addresses pass, and only of the directors if
these are named. No inputs or outputs here; nothing raises, whatever a packet holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet.checksum import apply, checksum, delta, pseudo_header
from lvsd.packet.layout import CHECKSUM_AT, IPV4_CHECKSUM
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Collection

_U16: Final = Struct("!H")

_GRE_CHECKSUM: Final = 0x8000
_GRE_PROTOCOLS: Final = {0x0800: 4, 0x86DD: 6}
_NOT_ECT, _ECT1, _ECT0, _CE = range(4)


class Carrier(IntEnum):
    """What is right in front of an inner packet, or of the tunnel's own header."""

    IPV4 = 4
    """IP protocol 4: an IPv4 packet (RFC 2003)."""
    GUE = 17
    """A UDP datagram with a GUE header."""
    IPV6 = 41
    """IP protocol 41: an IPv6 packet (RFC 2473)."""
    GRE = 47
    """IP protocol 47: a GRE header (RFC 2784)."""


@dataclass(slots=True)
class Counts:
    """Packets, by what became of them."""

    delivered: int = 0
    not_virtual: int = 0
    """To an address that is no virtual one here, or from one."""
    not_director: int = 0
    """The outer source is none of the directors."""
    malformed: int = 0
    """No inner packet is to be found."""
    congested: int = 0
    """The network signalled congestion to a sender that does not know of it (RFC 6040)."""
    failed: int = 0
    """The kernel did not take the inner packet."""
    lost: int = 0
    """The outer packets came faster than they were read."""


class Decapsulation:
    """Finds the inner packets. Counts what it refuses; ``delivered`` is for the caller to count."""

    def __init__(self, vips: Collection[bytes], directors: Collection[bytes] = ()) -> None:
        self.counts = Counts()
        self._vips = frozenset(vips)
        self._directors = frozenset(directors)
        self._packet = Packet()

    def take(self, carrier: Carrier, source: bytes, tos: int, payload: bytes) -> bytes | None:
        """Return the inner packet, which is good as an IP packet, or None when it is refused.

        ``source`` and ``tos`` (the byte with DSCP and ECN) are the outer header's, ``payload``
        is what follows that header, or the UDP header of GUE.
        """
        if self._directors and source not in self._directors:
            self.counts.not_director += 1
            return None
        inner = inner_packet(carrier, payload)
        if inner is None or self._packet.load(inner):
            self.counts.malformed += 1
            return None
        packet = self._packet
        if packet.destination not in self._vips or packet.source in self._vips:
            self.counts.not_virtual += 1
            return None
        if packet.end < len(inner):
            inner = inner[: packet.end]
        if tos & _CE == _NOT_ECT:
            return inner
        marked = with_congestion(inner, tos & _CE)
        if marked is None:
            self.counts.congested += 1
        return marked

    def checksum_start(self) -> tuple[int, int] | None:
        """Return where the last packet's checksum is to be computed from, and its own place there.

        None when it is there already. The kernel joins segments that arrive one after another,
        and leaves the checksum of the whole, of which the field then holds the pseudo header's
        part only, to whoever needs it. A packet whose whole checksum happens to look like that
        gets it computed anew.
        """
        packet = self._packet
        if packet.protocol not in {TCP, UDP} or packet.fragment:
            return None
        place = CHECKSUM_AT[packet.protocol]
        segment = packet.end - packet.l4
        carry = pseudo_header(packet.source, packet.destination, packet.protocol, segment)
        (field,) = _U16.unpack_from(packet.data, packet.l4 + place)
        return (packet.l4, place) if field == (carry % 0xFFFF or 0xFFFF) else None


def inner_packet(carrier: Carrier, payload: bytes) -> bytes | None:
    """Return what a tunnel carries, of the IP version that it says; None when it cannot be."""
    version, at = 0, 0
    match carrier:
        case Carrier.IPV4:
            version = 4
        case Carrier.IPV6:
            version = 6
        case Carrier.GRE:
            version, at = _gre(payload)
        case Carrier.GUE:
            version, at = _gue(payload)
    good = version and at < len(payload) and payload[at] >> 4 == version
    return payload[at:] if good else None


def with_congestion(packet: bytes, outer: int) -> bytes | None:
    """Return an IP packet with what the outer header says about congestion; None: drop it.

    ``outer`` is 1 to 3. RFC 6040, section 4.2, figure 4.
    """
    (word,) = _U16.unpack_from(packet)
    shift = 0 if packet[0] >> 4 == 4 else 4
    inner = word >> shift & _CE
    if inner == _NOT_ECT:
        return None if outer == _CE else packet
    wanted = outer if outer == _CE or (outer, inner) == (_ECT1, _ECT0) else inner
    if wanted == inner:
        return packet
    changed = bytearray(packet)
    _U16.pack_into(changed, 0, word & ~(_CE << shift) | wanted << shift)
    if not shift:
        (old,) = _U16.unpack_from(packet, IPV4_CHECKSUM)
        change = delta(packet[:2], bytes(changed[:2]))
        _U16.pack_into(changed, IPV4_CHECKSUM, apply(old, change))
    return bytes(changed)


def _gre(data: bytes) -> tuple[int, int]:
    """Return (IP version, where it begins) of what GRE carries; version 0: not for us.

    RFC 2784: version 0, at most a checksum. Keys and sequence numbers (RFC 2890) are for tunnels
    that were told of them.
    """
    if len(data) < 4:
        return 0, 0
    flags, protocol = _U16.unpack_from(data)[0], _U16.unpack_from(data, 2)[0]
    if flags & ~_GRE_CHECKSUM:
        return 0, 0
    if not flags:
        return _GRE_PROTOCOLS.get(protocol, 0), 4
    return (0, 0) if checksum(data) else (_GRE_PROTOCOLS.get(protocol, 0), 8)


def _gue(data: bytes) -> tuple[int, int]:
    """Return (IP version, where it begins) of what GUE carries; version 0: not for us.

    draft-ietf-intarea-gue, variant 0: control bit, length of the options in words, protocol,
    flags. Options are stepped over, save those that change the packet (remote checksum offload).
    """
    if len(data) < 4 or data[0] & 0xE0:
        return 0, 0
    header = 4 + 4 * (data[0] & 0x1F)
    flags = _U16.unpack_from(data, 2)[0]
    if flags or header > len(data):
        return 0, 0
    return {4: 4, 41: 6}.get(data[1], 0), header
