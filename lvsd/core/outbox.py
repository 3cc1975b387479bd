"""What waits to be sent: packets that leave by our sockets, and ICMP errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.core import states
from lvsd.core.icmp_limits import ErrorLimits, Kind
from lvsd.core.verdict import Departure
from lvsd.packet import icmp
from lvsd.packet.exchanged_error import MIN_MTU
from lvsd.packet.fragment import LEAST_MTU_V4, LEAST_MTU_V6, fragments
from lvsd.packet.tcp_options import clamp_mss

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.core.connection import Connection
    from lvsd.core.path import Path
    from lvsd.packet.view import Packet

ANSWERS_KEPT: Final = 1024
"""ICMP errors that may wait to be sent; more are not made."""

_HEADERS: Final = {4: 20 + 20, 6: 40 + 20}
"""Bytes of IP's and TCP's headers, which an MSS does not count (RFC 9293, section 3.7.1)."""

_LEAST_CUT: Final = {4: LEAST_MTU_V4, 6: LEAST_MTU_V6}
"""Ways narrower than this have no room for a piece of a packet."""


class Answer(NamedTuple):
    """An ICMP message to send; the IP header, and for ICMPv6 the checksum, are still to come."""

    destination: bytes
    message: bytes


class Outbox:
    """Collects what a director sends; the caller drains both lists.

    ``limits`` are those of ICMP errors.
    """

    __slots__ = ("_identification", "answers", "departures", "limits")

    def __init__(self) -> None:
        self.departures: list[Departure] = []
        self.answers: list[Answer] = []
        self.limits = ErrorLimits()
        self._identification = 0

    def depart(self, connection: Connection, path: Path, packet: Packet, indev: int) -> bool:
        """Send a packet to the real server as a frame, in a tunnel, or translated.

        Return False if it cannot be sent: with what it grows by no length field could say it, or
        the way is too narrow for any piece of it.
        """
        server = path.server
        if connection.translation is not None:
            changed = connection.translation.request(packet, server.mtu)
            sent = bool(changed)
            for data in changed:
                sent &= self.send(data, server.mtu, packet.data, indev)
            return sent
        if path.tunnel is not None:
            if server.service.config.mss_clamp and packet.flags & states.SYN:
                room = max(server.mtu - path.overhead, MIN_MTU[packet.version])
                fit = room - _HEADERS[packet.version]
                packet.load(clamp_mss(packet.data, packet, fit))
            data = path.tunnel.wrap(packet, self._next_identification())
            return bool(data) and self.send(data, server.mtu, packet.data, indev)
        return self.send(path.request(packet), server.mtu, packet.data, indev, server.address)

    def send(
        self, data: bytes, mtu: int, original: bytes, indev: int, neighbour: bytes | None = None
    ) -> bool:
        """Send a packet, cut to ``mtu`` where it is longer; that it may be cut is known.

        Return False if no pieces of it would fit.
        """
        if len(data) <= mtu:
            self.departures.append(Departure(data, neighbour, original, indev))
            return True
        if mtu < _LEAST_CUT[data[0] >> 4]:
            return False
        number = None if _keeps_number(data, original) else self._next_identification()
        pieces = fragments(data, mtu, number)
        self.departures += [Departure(piece, neighbour, original, indev) for piece in pieces]
        return bool(pieces)

    def answer(
        self, packet: Packet, kind: Kind, now: float, make: Callable[[Packet], bytes]
    ) -> int:
        """Send the ICMP error that ``make`` makes to a packet's sender, if it may be told.

        Return the bytes of the message; 0 if none is sent, and then none was made.
        """
        answers = self.answers
        if (
            len(answers) >= ANSWERS_KEPT
            or not icmp.may_answer(packet)
            or not self.limits.take(kind, packet.source, now)
        ):
            return 0
        message = make(packet)
        answers.append(Answer(packet.source, message))
        return len(message)

    def tell_too_big(self, packet: Packet, mtu: int) -> int:
        """Send the ICMP error that a packet is too big for ``mtu`` bytes, as `answer` does."""
        return self.answer(packet, Kind.TOO_BIG, 0.0, lambda about: icmp.too_big(about, mtu))

    def _next_identification(self) -> int:
        """Return a number for our own IP header, from 1 to 65535."""
        self._identification = self._identification % 0xFFFF + 1
        return self._identification


def _keeps_number(data: bytes, original: bytes) -> bool:
    """Whether the pieces of a packet have its own identification.

    That is unique among its sender's packets, not among those of another source; 0 tells nothing.
    """
    return data[0] >> 4 == 4 and data[4:6] != b"\0\0" and data[12:16] == original[12:16]
