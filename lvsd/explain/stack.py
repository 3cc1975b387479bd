"""What the client and the real server of an explanation do: just enough of TCP and UDP.

They answer what they get, as any host does: with the ends of the packet that came, and numbers
that follow from it. So what the director did shows in what the real server answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lvsd.packet.checksum import IPV4_CHECKSUM, checksum, pseudo_header
from lvsd.packet.numbers import TCP, UDP, TcpFlag
from lvsd.packet.tcp_options import MSS, TIMESTAMP, options
from lvsd.packet.view import Packet, split_key

SYN, ACK, FIN, PSH = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.PSH

TTL: Final = 64
WINDOW: Final = 64240
_MASK: Final = 0xFFFFFFFF
_MSS: Final = {4: 1460, 6: 1440}
_NOP, _SACK_PERMITTED, _WINDOW_SCALE = 1, 4, 3


@dataclass(slots=True)
class Peer:
    """One end of a connection. ``sequence`` is its initial number, ``clock`` its timestamps'.

    ``near`` and ``far`` are its own end and the other one as it sees it; a server knows neither
    until a packet comes.
    """

    protocol: int
    sequence: int
    clock: int
    near: tuple[bytes, int] = (b"", 0)
    far: tuple[bytes, int] = (b"", 0)
    acknowledged: int = 0
    echo: int | None = None
    identification: int = 0
    _offered: bool = field(default=False, init=False)

    def send(self, flags: int = 0, payload: bytes = b"") -> bytes:
        """Return the next packet to the other end."""
        self.identification += 1
        if self.protocol == UDP:
            return self._packet(self._udp(payload))
        segment = self._tcp(flags, payload)
        self.sequence += len(payload) + bool(flags & SYN) + bool(flags & FIN)
        self.sequence &= _MASK
        self.clock += 1
        return self._packet(segment)

    def receive(self, data: bytes) -> None:
        """Take notice of a packet from the other end."""
        packet = Packet()
        if packet.load(data) is not None or packet.protocol != self.protocol:
            return
        self.far, self.near = split_key(packet.key)
        if packet.protocol != TCP:
            return
        header = packet.data[packet.l4 + 12] >> 4 << 2
        length = packet.end - packet.l4 - header
        sequence = int.from_bytes(packet.data[packet.l4 + 4 : packet.l4 + 8], "big")
        ends = bool(packet.flags & SYN) + bool(packet.flags & FIN)
        if length or ends:
            self.acknowledged = sequence + length + ends & _MASK
        stamps = [at for kind, at, _ in options(packet) if kind == TIMESTAMP]
        if stamps:
            self.echo = int.from_bytes(packet.data[stamps[0] + 2 : stamps[0] + 6], "big")
        elif packet.flags & SYN:
            self.echo = None

    def _tcp(self, flags: int, payload: bytes) -> bytes:
        said = self._options(flags)
        header = b"".join(
            (
                self.near[1].to_bytes(2, "big"),
                self.far[1].to_bytes(2, "big"),
                self.sequence.to_bytes(4, "big"),
                (self.acknowledged if flags & ACK else 0).to_bytes(4, "big"),
                bytes((20 + len(said) << 2, flags)),
                WINDOW.to_bytes(2, "big"),
                bytes(4),
                said,
            )
        )
        return self._summed(bytearray(header + payload), 16)

    def _options(self, flags: int) -> bytes:
        """Return the options that Linux sends; timestamps only if both ends have said they do."""
        echo = self.echo
        if flags & SYN:
            answers = bool(flags & ACK)
            self._offered = not answers or echo is not None
            stamps = self._stamps(echo or 0) if self._offered else b""
            room = _MSS[4 if len(self.near[0]) == 4 else 6].to_bytes(2, "big")
            pad = bytes((_NOP,)) if stamps else bytes((_NOP, _NOP, _NOP))
            return b"".join(
                (
                    bytes((MSS, 4)),
                    room,
                    bytes((_SACK_PERMITTED, 2)),
                    stamps,
                    pad,
                    bytes((_WINDOW_SCALE, 3, 7)),
                )
            )
        if not self._offered or echo is None:
            return b""
        return bytes((_NOP, _NOP)) + self._stamps(echo)

    def _stamps(self, echo: int) -> bytes:
        return bytes((TIMESTAMP, 10)) + self.clock.to_bytes(4, "big") + echo.to_bytes(4, "big")

    def _udp(self, payload: bytes) -> bytes:
        ports = self.near[1].to_bytes(2, "big") + self.far[1].to_bytes(2, "big")
        length = (8 + len(payload)).to_bytes(2, "big")
        return self._summed(bytearray(ports + length + bytes(2) + payload), 6)

    def _summed(self, segment: bytearray, at: int) -> bytes:
        carry = pseudo_header(self.near[0], self.far[0], self.protocol, len(segment))
        segment[at : at + 2] = (checksum(segment, carry) or 0xFFFF).to_bytes(2, "big")
        return bytes(segment)

    def _packet(self, segment: bytes) -> bytes:
        return ip_packet(
            self.near[0], self.far[0], self.protocol, segment, identification=self.identification
        )


def ip_packet(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    dsfield: int = 0,
    identification: int | None = None,
) -> bytes:
    """Return an IP packet between two packed addresses, as it leaves a host.

    ``identification`` and ``dsfield`` are IPv4's; without the first, the packet may be cut (no DF).
    """
    ends = source + destination
    if len(ends) == 32:
        length = len(payload).to_bytes(2, "big")
        return b"\x60\x00\x00\x00" + length + bytes((protocol, TTL)) + ends + payload
    header = bytearray((0x45, dsfield)) + (20 + len(payload)).to_bytes(2, "big")
    header += (identification or 0).to_bytes(2, "big")
    header += b"\x00\x00" if identification is None else b"\x40\x00"
    header += bytes((TTL, protocol)) + bytes(2) + ends
    header[IPV4_CHECKSUM : IPV4_CHECKSUM + 2] = checksum(header).to_bytes(2, "big")
    return bytes(header) + payload
