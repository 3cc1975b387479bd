"""What the client and the real server of an explanation do: just enough of TCP and UDP.

They answer what they get, as any host does: with the ends of the packet that came, and numbers
that follow from it. So what the director did shows in what the real server answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lvsd.packet.build import ip_packet, tcp_segment, udp_datagram
from lvsd.packet.numbers import TCP, UDP, TcpFlag
from lvsd.packet.tcp_options import MSS, TIMESTAMP, options
from lvsd.packet.view import Packet, split_key

SYN, ACK, FIN, PSH = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.PSH

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
            return self._packet(udp_datagram(self.near, self.far, payload))
        segment = tcp_segment(
            self.near,
            self.far,
            flags,
            self.sequence,
            self.acknowledged if flags & ACK else 0,
            window=WINDOW,
            options=self._options(flags),
            payload=payload,
        )
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

    def _packet(self, segment: bytes) -> bytes:
        return ip_packet(
            self.near[0], self.far[0], self.protocol, segment, identification=self.identification
        )
