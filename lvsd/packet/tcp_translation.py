"""FULLNAT's rewriting of TCP: ends, numbers, TOA and the header of PROXY v2.

Nearly all segments take a plain way: no options, nothing to tell. The others are put together
header by header (`lvsd.packet.exchange`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet import tcp_header
from lvsd.packet.build import reset
from lvsd.packet.checksum import MODULUS, apply
from lvsd.packet.exchange import assemble, split_ends, whole, words
from lvsd.packet.exchanged_error import Insertion, exchange_error, inserted
from lvsd.packet.layout import ACK_AT, LAYOUTS, LEAST_BYTES, SEQ_AT
from lvsd.packet.numbers import TCP, TcpFlag
from lvsd.packet.renumbering import Renumbering, RenumberingBehindHeader
from lvsd.packet.tcp_options import TIMESTAMP, options
from lvsd.packet.telling import Way
from lvsd.packet.translation import Translation

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory, Recipe
    from lvsd.packet.view import Packet

_FIN, _SYN, _RST, _PSH, _ACK, _URG = map(
    int, (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.PSH, TcpFlag.ACK, TcpFlag.URG)
)
_NUMBERS: Final = Struct("!II")
_LEAST: Final = LEAST_BYTES[TCP]
_NO_OPTIONS: Final = _LEAST >> 2
_MAX_LENGTH: Final = 0xFFFF


class TcpTranslation(Translation):
    """A TCP connection's rewriting; ``isn`` is the initial number that the server is to see.

    ``_syn`` is the client's SYN as the server got it, until the server has answered it.
    """

    __slots__ = ("_stream", "_syn")

    def __init__(self, recipe: Recipe, key: bytes, reply_key: bytes, isn: int) -> None:
        Translation.__init__(self, recipe, key, reply_key)  # sooner than by super() (bench/core.py)
        telling = recipe.telling
        self._syn = b""
        self._stream = (
            RenumberingBehindHeader(isn, telling.header)
            if telling.header
            else Renumbering(isn, telling=telling.way is not Way.NONE)
        )

    @property
    def server_acked(self) -> int | None:
        """The number that the server expects next, as it said last, in its numbering."""
        return self._stream.server_acked

    def request(self, packet: Packet, mtu: int) -> list[bytes]:
        """Return what the server gets for a client's segment; see `Translation.request`."""
        stream, data, l4 = self._stream, packet.data, packet.l4
        layout = LAYOUTS[packet.version]
        is_syn = packet.flags & _SYN
        if (
            ((stream.telling or data[l4 + 12] >> 4 != _NO_OPTIONS) and not is_syn)
            or l4 != layout.length
            or packet.fragment
            or not packet.ttl
            or (is_syn and self._drops_data(packet))
        ):
            return self._request_segment(packet, mtu)
        tcp = layout.tcp
        start, word, _, seq, ack, rest, value = tcp.unpack_from(data)
        behind = data[tcp.size : packet.end]
        new = stream.request(seq, ack, packet.flags)
        change = self._change + new - seq
        if is_syn:
            through = bytearray(behind)
            self._refuse(through, options(packet), tcp.size, is_syn)
            change += words(through) - words(behind)
            behind = bytes(through)
        value = apply(value, change % MODULUS or MODULUS)
        word = layout.next_word(word, self._addresses)
        changed = tcp.pack(start, word, self._to_server, new, ack, rest, value) + behind
        if is_syn and stream.server_acked is None:
            self._syn = changed
        return [changed]

    def reply(self, packet: Packet) -> bytes:
        """Return what the client gets for a server's segment."""
        data, l4 = packet.data, packet.l4
        layout = LAYOUTS[packet.version]
        if (
            packet.flags & _SYN
            or l4 != layout.length
            or packet.fragment
            or data[l4 + 12] >> 4 != _NO_OPTIONS
            or not packet.ttl
        ):
            return self._reply_segment(packet)
        tcp = layout.tcp
        start, word, _, seq, ack, rest, value = tcp.unpack_from(data)
        new = self._stream.reply(seq, ack, packet.flags, packet.end - l4 - _LEAST)
        value = apply(value, (new - ack - self._change) % MODULUS or MODULUS)
        word = layout.next_word(word, -self._addresses)
        plain = tcp.pack(start, word, self._to_client, seq, new, rest, value)
        return plain + data[tcp.size : packet.end]

    def request_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the client gets for an ICMP error about a request."""
        return exchange_error(
            packet,
            inner,
            self._to_client,
            number_at=SEQ_AT,
            move=self._stream.to_client,
            overhead=self._recipe.telling.overhead,
            insertion=self._quoted_insertion(inner),
        )

    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply."""
        move = self._stream.to_server
        return exchange_error(packet, inner, self._to_server, number_at=ACK_AT, move=move)

    def memory(self) -> Memory:
        """Return the numbers of both sides, and the SYN that the server has not answered."""
        return (self._syn, *self._stream.memory())

    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""
        match memory:
            case (bytes(syn), *numbers):
                self._stream.remember(tuple(numbers))
                self._syn = syn
            case _:
                raise ValueError(f"{memory} is of no translation of TCP")

    def resets(self) -> tuple[bytes, bytes] | None:
        """Return a RST to the client and one to the server, None if they would not be believed."""
        to_client, to_server = self._stream.client_acked, self._stream.server_acked
        if to_client is None or to_server is None:
            return None
        return (
            reset(*split_ends(self._to_client), to_client),
            reset(*split_ends(self._to_server), to_server),
        )

    def reset_server(self) -> list[bytes]:
        """Return a RST to the server alone; nothing before its first acknowledgement."""
        expected = self._stream.server_acked
        return [] if expected is None else [reset(*split_ends(self._to_server), expected)]

    def refuse_old(self, packet: Packet) -> list[bytes]:
        """Return a RST, and the SYN again, for a packet of an older connection on the same ends.

        The SYN goes again once for each that the client sends.
        """
        stream = self._stream
        if packet.flags & (_ACK | _SYN | _RST) != _ACK or stream.server_acked is not None:
            return []
        _, ack = _NUMBERS.unpack_from(packet.data, packet.l4 + 4)
        if stream.answers_syn(ack):
            return []
        syn, self._syn = self._syn, b""
        return [reset(*split_ends(self._to_server), ack), *([syn] if syn else [])]

    def _drops_data(self, packet: Packet) -> bool:
        """Tell whether a SYN has data that does not get through.

        Where the address is to be told it is told before any data.
        """
        if self._recipe.telling.way is Way.NONE:
            return False
        return packet.end > packet.l4 + (packet.data[packet.l4 + 12] >> 4 << 2)

    def _refuse(self, header: bytearray, found: tcp_header.Found, at: int, is_syn: int) -> None:
        """Take out of a client's header, copied from ``at`` on, the options that it may not have.

        What could be taken for TOA is counted as forged.
        """
        telling, counts = self._recipe
        kinds = telling.refused if is_syn else telling.forgeable
        taken = tcp_header.blank(header, found, at, kinds)
        if taken and not telling.forgeable.isdisjoint(taken):
            counts.forged += 1

    def _request_segment(self, packet: Packet, mtu: int) -> list[bytes]:
        """Translate a client's segment header by header, and tell the address if it has to."""
        if packet.fragment:
            return [whole(packet, self._to_server)]
        stream, flags, l4 = self._stream, packet.flags, packet.l4
        header, found, seq, ack = _opened(packet)
        size = len(header)
        self._refuse(header, found, l4, flags & _SYN)
        payload = b"" if flags & _SYN and self._drops_data(packet) else None
        new = stream.request(seq, ack, flags)
        header[4:8] = new.to_bytes(4, "big")
        packets = []
        if isinstance(stream, RenumberingBehindHeader):
            if stream.overlaps_header(new, flags):
                payload = b""
                header[13] &= ~_FIN
            if stream.leads(new, flags):
                packets.append(self._lead(packet, header, stream.led()))
                if packet.end == l4 + size and not flags & _FIN:
                    return packets
        elif stream.unconfirmed(ack, flags):
            header = self._with_toa(packet, mtu, header, found) or header
        packets.append(assemble(packet, self._to_server, header, payload, old_length=size))
        if flags & _SYN and stream.server_acked is None:
            self._syn = packets[-1]
        return packets

    def _lead(self, packet: Packet, header: bytearray, seq: int) -> bytes:
        """Return the segment that the header of PROXY v2 goes in, ahead of a packet."""
        self._recipe.counts.told += 1
        lead = header.copy()
        lead[4:8] = seq.to_bytes(4, "big")
        lead[13] = lead[13] & ~(_FIN | _URG) | _PSH
        return assemble(packet, self._to_server, lead, self._told())

    def _with_toa(
        self, packet: Packet, mtu: int, header: bytearray, found: tcp_header.Found
    ) -> bytearray | None:
        """Return a header with TOA in it, None if it has no room; count which."""
        counts = self._recipe.counts
        told = tcp_header.insert(header, found, packet.l4, self._told())
        if told is None or packet.end + len(told) - len(header) > min(mtu, _MAX_LENGTH):
            counts.no_room += 1
            return None
        counts.told += 1
        return told

    def _reply_segment(self, packet: Packet) -> bytes:
        """Translate a server's segment that has options."""
        if packet.fragment:
            return whole(packet, self._to_client)
        stream, telling, l4 = self._stream, self._recipe.telling, packet.l4
        header, found, seq, ack = _opened(packet)
        if packet.flags & _SYN:
            self._syn = b""
            tcp_header.blank(header, found, l4, {TIMESTAMP})
            if telling.way is Way.TOA:
                tcp_header.lower_mss(header, found, l4, telling.overhead)
        new = stream.reply(seq, ack, packet.flags, packet.end - l4 - len(header))
        header[8:12] = new.to_bytes(4, "big")
        tcp_header.move_sack(header, found, l4, stream.to_client)
        return assemble(packet, self._to_client, header)

    def _quoted_insertion(self, inner: Packet) -> Insertion | None:
        """Return what an ICMP error quotes that the client did not send."""
        stream, way = self._stream, self._recipe.telling.way
        data, l4 = inner.data, inner.l4
        if inner.fragment_offset or inner.end - l4 <= _LEAST:
            return None
        body = l4 + max(data[l4 + 12] >> 4 << 2, _LEAST)
        if way is Way.TOA:
            return inserted(inner, l4 + _LEAST, self._told(), body)
        seq, _ = _NUMBERS.unpack_from(data, l4 + 4)
        if isinstance(stream, RenumberingBehindHeader) and stream.in_header(seq):
            return inserted(inner, body, self._told(), _MAX_LENGTH)
        return None


def _opened(packet: Packet) -> tuple[bytearray, tcp_header.Found, int, int]:
    """Return a copy of a segment's header, the options in it, and both its numbers."""
    data, l4 = packet.data, packet.l4
    size = data[l4 + 12] >> 4 << 2
    seq, ack = _NUMBERS.unpack_from(data, l4 + 4)
    return bytearray(data[l4 : l4 + size]), options(packet) if size > _LEAST else [], seq, ack
