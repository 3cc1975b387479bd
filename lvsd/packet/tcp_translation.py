"""FULLNAT's rewriting of TCP: the ends, and what the layers make of numbers and headers.

Nearly all segments take a plain way: no options, nothing to tell. The others are put together
header by header (`lvsd.packet.exchange`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet import tcp_header
from lvsd.packet.build import reset
from lvsd.packet.checksum import MODULUS
from lvsd.packet.exchange import split_ends, whole, words
from lvsd.packet.exchanged_error import Insertion, exchange_error
from lvsd.packet.layout import LAYOUTS, LEAST_BYTES
from lvsd.packet.numbers import TCP, TcpFlag
from lvsd.packet.segment import Segment
from lvsd.packet.tcp_options import TIMESTAMP, options
from lvsd.packet.translation import Translation

if TYPE_CHECKING:
    from lvsd.packet.telling import TcpTelling
    from lvsd.packet.translation import Memory
    from lvsd.packet.view import Packet

_SYN, _RST, _ACK = map(int, (TcpFlag.SYN, TcpFlag.RST, TcpFlag.ACK))
_NUMBERS: Final = Struct("!II")
_LEAST: Final = LEAST_BYTES[TCP]
_NO_OPTIONS: Final = _LEAST >> 2


class TcpTranslation(Translation):
    """A TCP connection's rewriting; ``isn`` is the initial number that the server is to see.

    ``_syn`` is the client's SYN as the server got it, until the server has answered it.
    """

    __slots__ = ("_numbering", "_syn", "_telling")

    def __init__(self, telling: TcpTelling, key: bytes, reply_key: bytes, isn: int) -> None:
        Translation.__init__(self, key, reply_key)  # sooner than by super() (bench/core.py)
        self._telling = telling
        self._numbering = telling.numbering(isn)
        self._syn = b""

    @property
    def server_acked(self) -> int | None:
        """The number that the server expects next, as it said last, in its numbering."""
        return self._numbering.server_acked

    def request(self, packet: Packet, mtu: int) -> list[bytes]:
        """Return what the server gets for a client's segment; see `Translation.request`."""
        numbering, data, l4 = self._numbering, packet.data, packet.l4
        layout = LAYOUTS[packet.version]
        is_syn = packet.flags & _SYN
        if (
            ((numbering.telling or data[l4 + 12] >> 4 != _NO_OPTIONS) and not is_syn)
            or l4 != layout.length
            or packet.fragment
            or not packet.ttl
            or (is_syn and self._drops_data(packet))
        ):
            return self._request_segment(packet, mtu)
        tcp = layout.tcp
        start, word, _, seq, ack, rest, value = tcp.unpack_from(data)
        behind = data[tcp.size : packet.end]
        new_seq, new_ack = numbering.request(seq, ack, packet.flags)
        change = self._change + new_seq - seq + new_ack - ack
        if is_syn:
            through = bytearray(behind)
            self._telling.refuse(through, options(packet), tcp.size, is_syn)
            change += words(through) - words(behind)
            behind = bytes(through)
        # `apply` and `Layout.next_word`, written out: a tenth of the time (bench/packet.py).
        total = (value ^ 0xFFFF) + (change % MODULUS or MODULUS)
        value = 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))
        word -= layout.hop
        if layout.checksum:
            total = (~word & 0xFFFF) + ((self._addresses - 0x100) % MODULUS or MODULUS)
            word = word & ~0xFFFF | 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))
        changed = tcp.pack(start, word, self._to_server, new_seq, new_ack, rest, value) + behind
        if is_syn and numbering.server_acked is None:
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
        length = packet.end - l4 - _LEAST
        new_seq, new_ack = self._numbering.reply(seq, ack, packet.flags, length)
        change = new_seq - seq + new_ack - ack - self._change
        total = (value ^ 0xFFFF) + (change % MODULUS or MODULUS)
        value = 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))
        word -= layout.hop
        if layout.checksum:
            total = (~word & 0xFFFF) + ((-self._addresses - 0x100) % MODULUS or MODULUS)
            word = word & ~0xFFFF | 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))
        plain = tcp.pack(start, word, self._to_client, new_seq, new_ack, rest, value)
        return plain + data[tcp.size : packet.end]

    def request_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the client gets for an ICMP error about a request."""
        return exchange_error(
            packet,
            inner,
            self._to_client,
            move=self._numbering.sent_request,
            overhead=self._telling.overhead,
            insertion=self._quoted_insertion(inner),
        )

    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply."""
        return exchange_error(packet, inner, self._to_server, move=self._numbering.sent_reply)

    def memory(self) -> Memory:
        """Return the numbers of both sides, and the SYN that the server has not answered."""
        return (self._syn, *self._numbering.memory())

    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""
        match memory:
            case (bytes(syn), *numbers):
                self._numbering.remember(tuple(numbers))
                self._syn = syn
            case _:
                raise ValueError(f"{memory} is of no translation of TCP")

    def resets(self) -> tuple[bytes, bytes] | None:
        """Return a RST to the client and one to the server, None if they would not be believed."""
        to_client, to_server = self._numbering.client_acked, self._numbering.server_acked
        if to_client is None or to_server is None:
            return None
        return (
            reset(*split_ends(self._to_client), to_client),
            reset(*split_ends(self._to_server), to_server),
        )

    def reset_server(self) -> list[bytes]:
        """Return a RST to the server alone; nothing before its first acknowledgement."""
        expected = self._numbering.server_acked
        return [] if expected is None else [reset(*split_ends(self._to_server), expected)]

    def refuse_old(self, packet: Packet) -> list[bytes]:
        """Return a RST, and the SYN again, for a packet of an older connection on the same ends.

        The SYN goes again once for each that the client sends.
        """
        numbering = self._numbering
        if packet.flags & (_ACK | _SYN | _RST) != _ACK or numbering.server_acked is not None:
            return []
        _, ack = _NUMBERS.unpack_from(packet.data, packet.l4 + 4)
        if numbering.answers_syn(ack):
            return []
        syn, self._syn = self._syn, b""
        return [reset(*split_ends(self._to_server), ack), *([syn] if syn else [])]

    def _drops_data(self, packet: Packet) -> bool:
        """Tell whether a SYN has data that does not get through.

        Where the address is to be told it is told before any data.
        """
        if self._telling.takes_syn_data:
            return False
        return packet.end > packet.l4 + (packet.data[packet.l4 + 12] >> 4 << 2)

    def _request_segment(self, packet: Packet, mtu: int) -> list[bytes]:
        """Translate a client's segment header by header, and tell the address if it has to."""
        if packet.fragment:
            return [whole(packet, self._to_server)]
        numbering, telling, flags = self._numbering, self._telling, packet.flags
        segment = Segment(packet)
        telling.refuse(segment.header, segment.found, packet.l4, flags)
        if flags & _SYN and self._drops_data(packet):
            segment.payload = b""
        segment.renumber(*numbering.request(segment.seq, segment.ack, flags))
        if numbering.moves_server:
            segment.move_sack(numbering.request_edge)
        to_server = self._to_server
        leaving = telling.request(segment, numbering, mtu, self._to_client)
        packets = [each.assembled(to_server) for each in leaving]
        if flags & _SYN and numbering.server_acked is None:
            self._syn = packets[-1]
        return packets

    def _reply_segment(self, packet: Packet) -> bytes:
        """Translate a server's segment header by header."""
        if packet.fragment:
            return whole(packet, self._to_client)
        numbering = self._numbering
        segment = Segment(packet)
        if packet.flags & _SYN:
            self._syn = b""
            tcp_header.blank(segment.header, segment.found, packet.l4, {TIMESTAMP})
            self._telling.answer(segment)
        length = packet.end - packet.l4 - segment.size
        segment.renumber(*numbering.reply(segment.seq, segment.ack, packet.flags, length))
        segment.move_sack(numbering.reply_edge)
        return segment.assembled(self._to_client)

    def _quoted_insertion(self, inner: Packet) -> Insertion | None:
        """Return what an ICMP error quotes that the client did not send."""
        if inner.fragment_offset or inner.end - inner.l4 <= _LEAST:
            return None
        return self._telling.quoted(inner, self._numbering, self._to_client)
