"""FULLNAT's rewriting of UDP: the ends, and whatever its layer tells of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.packet.checksum import MODULUS, apply_udp
from lvsd.packet.exchange import whole
from lvsd.packet.exchanged_error import exchange_error
from lvsd.packet.layout import LAYOUTS
from lvsd.packet.segment import Datagram
from lvsd.packet.translation import Translation

if TYPE_CHECKING:
    from lvsd.packet.telling import UdpTelling
    from lvsd.packet.translation import Memory
    from lvsd.packet.view import Packet


class UdpTranslation(Translation):
    """A UDP connection's rewriting."""

    __slots__ = ("_kept", "_left", "_telling")

    def __init__(self, telling: UdpTelling, key: bytes, reply_key: bytes) -> None:
        super().__init__(key, reply_key)
        self._telling = telling
        self._kept = telling.kept(self._to_client)
        self._left = telling.first

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
            or self._kept
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
            overhead=self._telling.overhead,
            insertion=self._telling.quoted(inner, self._to_client, self._kept),
        )

    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply."""
        return exchange_error(packet, inner, self._to_server)

    def _request_datagram(self, packet: Packet, mtu: int) -> list[bytes]:
        """Translate a client's datagram, telling the address in the first ones or in all."""
        if packet.fragment:
            return [whole(packet, self._to_server)]
        datagram = Datagram(packet)
        ahead = self._telling.request(
            datagram,
            mtu,
            self._to_server,
            self._to_client,
            kept=self._kept,
            tells=self._left > 0,
        )
        if ahead is None:
            return []
        self._left -= datagram.told
        return [*ahead, datagram.assembled(self._to_server)]


def _plain(packet: Packet, ends: bytes, change: int, addresses: int) -> bytes:
    """Return a packet without IP options of which only the ends and the TTL change."""
    layout = LAYOUTS[packet.version]
    udp = layout.udp
    start, word, _, length, value = udp.unpack_from(packet.data)
    value = apply_udp(value, change % MODULUS or MODULUS)
    plain = udp.pack(start, layout.next_word(word, addresses), ends, length, value)
    return plain + packet.data[udp.size : packet.end]
