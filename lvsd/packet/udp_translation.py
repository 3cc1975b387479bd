"""FULLNAT's rewriting of UDP: ends, UOA and the header of PROXY v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.packet.build import ip_packet
from lvsd.packet.checksum import MODULUS, apply_udp
from lvsd.packet.client_address import OPTION_PROTOCOL, UOA_KIND, ip_options
from lvsd.packet.exchange import assemble, split_ends, whole
from lvsd.packet.exchanged_error import Insertion, exchange_error, fitting, inserted
from lvsd.packet.layout import IPV4, LAYOUTS, LEAST_BYTES, UDP_HEADER
from lvsd.packet.numbers import UDP
from lvsd.packet.tcp_options import NOP
from lvsd.packet.telling import Way
from lvsd.packet.translation import Translation

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory, Recipe
    from lvsd.packet.view import Packet

UOA_PACKETS: Final = 3
"""UOA is in a connection's first datagrams, this many, as DPVS's uoa_max_trail: one may be lost."""

_LEAST: Final = LEAST_BYTES[UDP]
_MAX_LENGTH: Final = 0xFFFF


class UdpTranslation(Translation):
    """A UDP connection's rewriting."""

    __slots__ = ("_header", "_left")

    def __init__(self, recipe: Recipe, key: bytes, reply_key: bytes) -> None:
        super().__init__(recipe, key, reply_key)
        way = recipe.telling.way
        self._header = self._told() if way is Way.PROXY else b""
        self._left = UOA_PACKETS if way in {Way.OPTION, Way.AHEAD} else 0

    def memory(self) -> Memory:
        """Return how many packets are still to tell the client's address."""
        return (self._left,)

    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""
        match memory:
            case (int(left),):
                self._left = left
            case _:
                raise ValueError(f"{memory} is of no translation of UDP")

    def request(self, packet: Packet, mtu: int) -> list[bytes]:
        """Return what the server gets for a client's datagram; see `Translation.request`."""
        if (
            self._left
            or self._header
            or packet.fragment
            or packet.l4 != LAYOUTS[packet.version].length
            or not packet.ttl
        ):
            return self._request_datagram(packet, mtu)
        return [_plain(packet, self._to_server, self._change, self._addresses)]

    def reply(self, packet: Packet) -> bytes:
        """Return what the client gets for a server's datagram."""
        if packet.fragment or packet.l4 != LAYOUTS[packet.version].length or not packet.ttl:
            return whole(packet, self._to_client)
        return _plain(packet, self._to_client, -self._change, -self._addresses)

    def request_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the client gets for an ICMP error about a request."""
        return exchange_error(
            packet,
            inner,
            self._to_client,
            overhead=self._recipe.telling.overhead,
            insertion=self._quoted_insertion(inner),
        )

    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply."""
        return exchange_error(packet, inner, self._to_server)

    def _request_datagram(self, packet: Packet, mtu: int) -> list[bytes]:
        """Translate a client's datagram, telling the address in the first ones or in all."""
        ends, counts, l4 = self._to_server, self._recipe.counts, packet.l4
        if packet.fragment:
            return [whole(packet, ends)]
        header = bytearray(packet.data[l4 : l4 + _LEAST])
        carried = None
        if packet.version == 4:
            carried = self._ip_options(packet, mtu)
        elif self._left:
            self._left -= 1
            counts.told += 1
            return [self._ahead(packet), whole(packet, ends)]
        if self._header:
            length = int.from_bytes(header[4:6], "big") + len(self._header)
            grown = packet.end + len(self._header) - LAYOUTS[packet.version].uncounted
            if grown > _MAX_LENGTH:
                counts.no_room += 1
                return []
            counts.told += 1
            header[4:6] = length.to_bytes(2, "big")
            header += self._header
        return [assemble(packet, ends, header, old_length=_LEAST, options=carried)]

    def _ip_options(self, packet: Packet, mtu: int) -> bytes:
        """Return a datagram's IPv4 options as the server gets them, UOA among them or not."""
        counts = self._recipe.counts
        carried = bytearray(packet.data[IPV4.length : packet.l4])
        forged = [
            (at - IPV4.length, length)
            for kind, at, length in ip_options(packet)
            if kind == UOA_KIND
        ]
        for at, length in forged:
            carried[at : at + length] = bytes((NOP,)) * length
        counts.forged += bool(forged)
        if self._left:
            told = self._told()
            if packet.l4 + len(told) > 60 or packet.end + len(told) > min(mtu, _MAX_LENGTH):
                counts.no_room += 1
            else:
                self._left -= 1
                counts.told += 1
                return told + bytes(carried)
        return bytes(carried)

    def _ahead(self, packet: Packet) -> bytes:
        """Return the packet that carries UOA ahead of an IPv6 datagram.

        The datagram in it is empty and has the checksum 0, which no program gets to see: a host
        discards it (RFC 8200, section 8.1) once it has read what stands in front.
        """
        source, destination = split_ends(self._to_server)
        first = int.from_bytes(packet.data[:4], "big")
        empty = UDP_HEADER.pack(source[1], destination[1], _LEAST, 0)
        return ip_packet(
            source[0],
            destination[0],
            OPTION_PROTOCOL,
            self._told() + empty,
            ttl=packet.ttl - (packet.ttl > 0),
            dsfield=first >> 20 & 0xFF,
            flow_label=first & 0xFFFFF,
        )

    def _quoted_insertion(self, inner: Packet) -> Insertion | None:
        """Return what an ICMP error quotes that the client did not send.

        Every datagram has its PROXY header, so that one is known of that is not quoted at all.
        """
        data, l4 = inner.data, inner.l4
        if self._recipe.telling.way is Way.OPTION:
            return inserted(inner, IPV4.length, self._told(), l4)
        if not self._header or inner.fragment_offset:
            return None
        at = l4 + _LEAST
        limit = l4 + int.from_bytes(data[l4 + 4 : l4 + 6], "big")
        if inner.end == at and not inner.fragment:
            return fitting(inner, at, self._header, limit)
        return inserted(inner, at, self._header, limit)


def _plain(packet: Packet, ends: bytes, change: int, addresses: int) -> bytes:
    """Return a packet without IP options of which only the ends and the TTL change."""
    layout = LAYOUTS[packet.version]
    udp = layout.udp
    start, word, _, length, value = udp.unpack_from(packet.data)
    value = apply_udp(value, change % MODULUS or MODULUS)
    plain = udp.pack(start, layout.next_word(word, addresses), ends, length, value)
    return plain + packet.data[udp.size : packet.end]
