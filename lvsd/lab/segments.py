"""The packets of one TCP connection with an HTTP request, each told from the others."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from lvsd.lab.capture import REPLY, REQUEST
from lvsd.packet.numbers import TCP, TcpFlag
from lvsd.packet.tunnel import unwrap
from lvsd.packet.view import Packet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lvsd.explain.model import Direction

FIN, SYN, ACK = TcpFlag.FIN, TcpFlag.SYN, TcpFlag.ACK
_ENDING: Final = FIN | SYN | TcpFlag.RST
"""Flags that begin or end a connection."""

_ETHERTYPE_AT, _IP_AT = 12, 14
_IP: Final = {0x0800, 0x86DD}
_U16: Final = Struct("!H").unpack_from

Kind: TypeAlias = Literal[
    "SYN",
    "SYN ACK",
    "ACK",
    "HTTP request",
    "HTTP reply",
    "FIN from the client",
    "FIN from the real server",
]

DIRECTIONS: Final[dict[Kind, Direction]] = {
    "SYN": "request",
    "SYN ACK": "reply",
    "ACK": "request",
    "HTTP request": "request",
    "HTTP reply": "reply",
    "FIN from the client": "request",
    "FIN from the real server": "reply",
}
"""The packets that can be told apart, in the order in which they come, and where they go."""


def is_a(kind: Kind, ports: Collection[int]) -> Callable[[bytes], bool]:
    """Return what says whether a frame is such a packet, within a tunnel or not.

    ``ports`` are those of the service and of its real servers. "ACK" is any that has nothing else
    to say: the first one is the handshake's.
    """

    def told(frame: bytes) -> bool:
        packet = segment(frame)
        if packet is None:
            return False
        towards: Direction = "request" if packet.destination_port in ports else "reply"
        return towards == DIRECTIONS[kind] and _kind(packet) == kind.partition(" from ")[0]

    return told


def segment(frame: bytes) -> Packet | None:
    """Return the TCP segment in a frame, or in a packet without one; None if there is none."""
    packet = Packet()
    data = packet_of(frame)
    if packet.load(unwrap(data) or data) is not None or packet.protocol != TCP:
        return None
    return packet


def packet_of(frame: bytes) -> bytes:
    """Return a frame without its Ethernet header, if it has one: a tunnel's interface has none."""
    framed = len(frame) > _IP_AT and _U16(frame, _ETHERTYPE_AT)[0] in _IP
    return frame[_IP_AT:] if framed else frame


def _kind(packet: Packet) -> str:
    """Return what a segment is, whoever sends it."""
    payload = packet.data[packet.l4 + (packet.data[packet.l4 + 12] >> 4 << 2) : packet.end]
    if payload.startswith(REQUEST):
        return "HTTP request"
    if payload.startswith(REPLY):
        return "HTTP reply"
    if packet.flags & SYN:
        return "SYN ACK" if packet.flags & ACK else "SYN"
    if packet.flags & FIN:
        return "FIN"
    return "ACK" if not payload and not packet.flags & _ENDING else ""
