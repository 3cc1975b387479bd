"""FULLNAT's rewriting: both directions of one connection, from its plan's steps.

Other plans are compiled to rewriters that many connections share. FULLNAT's names the client, and
its TCP has a state: numbers of its own (`Renumbering`), and a client's address that is told until
the server must know it. So each connection has an object, a small one.

Nearly all packets take a plain way: no options, nothing to tell. The others are put together
header by header (`Exchange`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from lvsd.packet import tcp_header
from lvsd.packet.checksum import apply
from lvsd.packet.client_address import OPTION_PROTOCOL, UOA_KIND, ip_options
from lvsd.packet.exchange import HEADER, MODULUS, Exchange
from lvsd.packet.exchanged_error import ACK_AT, SEQ_AT, exchange_error
from lvsd.packet.numbers import TCP, UDP, TcpFlag
from lvsd.packet.renumbering import Renumbering
from lvsd.packet.tcp_options import NOP, TIMESTAMP, options
from lvsd.packet.telling import Way, ends, forgeable, telling

if TYPE_CHECKING:
    from forwarders.plan import Plan
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.view import Endpoint, Packet

FAST_OPEN: Final = 34
"""TCP Fast Open's cookie (RFC 7413). A server that takes it reads data before the handshake ends,
and with it before it can know who the client is; so a client whose address is told gets none."""

UOA_PACKETS: Final = 3
"""UOA is in a connection's first datagrams, this many, as DPVS's uoa_max_trail: one may be lost."""

_FIN, _SYN, _PSH, _URG = map(int, (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.PSH, TcpFlag.URG))
_NUMBERS: Final = Struct("!II")
_NO_OPTIONS: Final = 5
_MAX_LENGTH: Final = 0xFFFF


class Translation:
    """One connection's rewriting: client and virtual ends for local and real ones, and back.

    ``client`` and ``virtual`` are the ends that requests come with. ``isn`` is the initial
    sequence number that the server is to see. ``counts`` is shared by all connections.

    Packets that are handed in have a TTL above 1, which is made one less, and the connection's
    ends; what leaves goes by a raw socket. Nothing that a packet holds raises anything, a wrong
    checksum stays wrong, and padding behind the IP length goes.

    Raise TypeError for a step that is not FULLNAT's, ValueError for another protocol than TCP and
    UDP, steps that are missing, or ends of two families.
    """

    __slots__ = ("_back", "_counts", "_left", "_out", "_stream", "_told", "_way")

    def __init__(
        self,
        plan: Plan,
        protocol: int,
        client: Endpoint,
        virtual: Endpoint,
        isn: int,
        counts: ClientAddressCounts,
    ) -> None:
        if protocol not in {TCP, UDP}:
            raise ValueError(f"FULLNAT translates TCP and UDP, not protocol {protocol}")
        local, real = ends(plan.request)
        self._out = Exchange((client, virtual), (local, real))
        self._back = Exchange((real, local), ends(plan.reply or ()))
        self._counts = counts
        self._way, self._told = telling(plan.request, protocol)
        self._left = UOA_PACKETS if self._way in {Way.OPTION, Way.AHEAD} else 0
        self._stream: Renumbering | None = None
        if protocol == TCP:
            header = len(self._told) if self._way is Way.PROXY else 0
            self._stream = Renumbering(isn, header, telling=self._way is not Way.NONE)

    @property
    def next_sequence(self) -> int:
        """One past the highest sequence number sent to the server, in its numbering; UDP: 0."""
        return self._stream.next_sequence if self._stream else 0

    @property
    def overhead(self) -> int:
        """How many bytes longer than the client's packet the server's may be."""
        if self._way is Way.AHEAD or (self._way is Way.PROXY and self._stream):
            return 0
        return len(self._told)

    def request(self, packet: Packet, mtu: int) -> list[bytes]:
        """Return what the server gets for a client's packet, in order; the way's MTU is in bytes.

        Nearly always one packet. Where a PROXY header has to go ahead of the client's data, it
        goes as a segment of its own, and alone if the packet had no data; UOA over IPv6 goes ahead
        too. A packet that would be too long for the way with its option goes without it. A
        datagram does not go without a PROXY header, though, as its first bytes would then be taken
        for one, and they are the client's: it may come out longer than ``mtu``, and of one that no
        IP packet can hold nothing is left.
        """
        stream = self._stream
        if stream is None:
            return self._request_datagram(packet, mtu)
        out, data, l4 = self._out, packet.data, packet.l4
        layout = out.layout
        if packet.fragment:
            return [out.whole(packet)]
        if (
            stream.telling
            or packet.flags & _SYN
            or l4 != layout.length
            or data[l4 + 12] >> 4 != _NO_OPTIONS
            or not packet.ttl
        ):
            return self._request_segment(packet, mtu, stream)
        tcp = layout.tcp
        start, word, _, seq, ack, rest, value = tcp.unpack_from(data)
        new = stream.request(seq, ack, packet.flags, packet.end - l4 - HEADER[TCP])
        value = apply(value, (out.change + new - seq) % MODULUS or MODULUS)
        plain = tcp.pack(start, out.plain(word), out.ends, new, ack, rest, value)
        return [plain + data[tcp.size : packet.end]]

    def reply(self, packet: Packet) -> bytes:
        """Return what the client gets for a server's packet."""
        stream, back, data, l4 = self._stream, self._back, packet.data, packet.l4
        if stream is None:
            return back.datagram(packet)
        layout = back.layout
        if packet.fragment:
            return back.whole(packet)
        if (
            packet.flags & _SYN
            or l4 != layout.length
            or data[l4 + 12] >> 4 != _NO_OPTIONS
            or not packet.ttl
        ):
            return self._reply_segment(packet, stream)
        tcp = layout.tcp
        start, word, _, seq, ack, rest, value = tcp.unpack_from(data)
        new = stream.reply(seq, ack, packet.flags, packet.end - l4 - HEADER[TCP])
        value = apply(value, (back.change + new - ack) % MODULUS or MODULUS)
        plain = tcp.pack(start, back.plain(word), back.ends, seq, new, rest, value)
        return plain + data[tcp.size : packet.end]

    def request_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the client gets for an ICMP error about a request.

        It comes from the VIP and quotes the client's own ends and sequence number; an MTU in it is
        lowered by what a request grows here. ``inner`` as `icmp.embedded` loaded it.
        """
        move = self._stream.to_client if self._stream else None
        return exchange_error(
            packet, inner, self._back, number_at=SEQ_AT, move=move, overhead=self.overhead
        )

    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply.

        It comes from the local address, where replies go, and quotes the server's own ends and
        acknowledgement.
        """
        move = self._stream.to_server if self._stream else None
        return exchange_error(packet, inner, self._out, number_at=ACK_AT, move=move)

    def resets(self) -> tuple[bytes, bytes] | None:
        """Return a RST to the client and one to the server, None if they would not be believed.

        Each has exactly the sequence number that its receiver acknowledged last: to any other
        Linux answers with a challenge (RFC 5961, section 3.2).
        """
        stream = self._stream
        if stream is None or stream.client_acked is None or stream.server_acked is None:
            return None
        return self._back.reset(stream.client_acked), self._out.reset(stream.server_acked)

    def _request_segment(self, packet: Packet, mtu: int, stream: Renumbering) -> list[bytes]:
        """Translate a client's segment that has options, or may have to tell the address."""
        data, l4, flags = packet.data, packet.l4, packet.flags
        seq, ack = _NUMBERS.unpack_from(data, l4 + 4)
        size = data[l4 + 12] >> 4 << 2
        length = packet.end - l4 - size
        header = bytearray(data[l4 : l4 + size])
        found = options(packet)
        payload = None
        if tcp_header.blank(header, found, l4, forgeable(self._way, self._told[:1])):
            self._counts.forged += 1
        if flags & _SYN:
            tcp_header.blank(header, found, l4, {TIMESTAMP})
            if self._told:
                tcp_header.blank(header, found, l4, {FAST_OPEN})
                payload, length = b"", 0
        new = stream.request(seq, ack, flags, length)
        header[4:8] = new.to_bytes(4, "big")
        if stream.overlaps_header(new, flags):
            payload = b""
            header[13] &= ~_FIN
        packets = []
        if self._way is Way.TOA and stream.unconfirmed(ack, flags):
            header = self._with_toa(packet, mtu, header, found) or header
        elif stream.leads(new, flags):
            self._counts.told += 1
            lead = header.copy()
            lead[4:8] = stream.led().to_bytes(4, "big")
            lead[13] = lead[13] & ~(_FIN | _URG) | _PSH
            packets.append(self._out.assemble(packet, lead, self._told))
            if not length and not flags & _FIN:
                return packets
        packets.append(self._out.assemble(packet, header, payload, old_length=size))
        return packets

    def _with_toa(
        self, packet: Packet, mtu: int, header: bytearray, found: tcp_header.Found
    ) -> bytearray | None:
        """Return a header with TOA in it, None if it has no room; count which."""
        told = tcp_header.insert(header, found, packet.l4, self._told)
        if told is None or packet.end + len(told) - len(header) > min(mtu, _MAX_LENGTH):
            self._counts.no_room += 1
            return None
        self._counts.told += 1
        return told

    def _reply_segment(self, packet: Packet, stream: Renumbering) -> bytes:
        """Translate a server's segment that has options."""
        data, l4 = packet.data, packet.l4
        seq, ack = _NUMBERS.unpack_from(data, l4 + 4)
        size = data[l4 + 12] >> 4 << 2
        header = bytearray(data[l4 : l4 + size])
        found = options(packet)
        if packet.flags & _SYN:
            tcp_header.blank(header, found, l4, {TIMESTAMP})
            if self._way is Way.TOA:
                tcp_header.lower_mss(header, found, l4, len(self._told))
        new = stream.reply(seq, ack, packet.flags, packet.end - l4 - size)
        header[8:12] = new.to_bytes(4, "big")
        tcp_header.move_sack(header, found, l4, stream.to_client)
        return self._back.assemble(packet, header)

    def _request_datagram(self, packet: Packet, mtu: int) -> list[bytes]:
        """Translate a client's datagram, telling the address in the first ones or in all."""
        out, l4, told = self._out, packet.l4, self._told
        if packet.fragment or not (self._left or self._way is Way.PROXY or l4 != out.layout.length):
            return [out.datagram(packet)]
        header = bytearray(packet.data[l4 : l4 + HEADER[UDP]])
        carried = None
        if packet.version == 4:
            carried = self._ip_options(packet, mtu)
        elif self._left:
            self._left -= 1
            self._counts.told += 1
            return [self._ahead(packet), out.datagram(packet)]
        if self._way is Way.PROXY:
            length = int.from_bytes(header[4:6], "big") + len(told)
            if packet.end + len(told) - out.layout.uncounted > _MAX_LENGTH:
                self._counts.no_room += 1
                return []
            self._counts.told += 1
            header[4:6] = length.to_bytes(2, "big")
            header += told
        return [out.assemble(packet, header, old_length=HEADER[UDP], options=carried)]

    def _ip_options(self, packet: Packet, mtu: int) -> bytes:
        """Return a datagram's IPv4 options as the server gets them, UOA among them or not."""
        carried = bytearray(packet.data[20 : packet.l4])
        forged = [(at - 20, length) for kind, at, length in ip_options(packet) if kind == UOA_KIND]
        for at, length in forged:
            carried[at : at + length] = bytes((NOP,)) * length
        self._counts.forged += bool(forged)
        if self._left:
            told = self._told
            if packet.l4 + len(told) > 60 or packet.end + len(told) > min(mtu, _MAX_LENGTH):
                self._counts.no_room += 1
            else:
                self._left -= 1
                self._counts.told += 1
                return told + bytes(carried)
        return bytes(carried)

    def _ahead(self, packet: Packet) -> bytes:
        """Return the packet that carries UOA ahead of an IPv6 datagram.

        The datagram in it is empty and has the checksum 0, which no program gets to see: a host
        discards it (RFC 8200, section 8.1) once it has read what stands in front.
        """
        ends, ttl = self._out.ends, packet.ttl
        start = packet.data[:4] + (len(self._told) + HEADER[UDP]).to_bytes(2, "big")
        start += bytes((OPTION_PROTOCOL, ttl - (ttl > 0)))
        return start + ends[:-4] + self._told + ends[-4:] + b"\0\x08\0\0"
