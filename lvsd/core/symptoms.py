"""What packets of a connection show of its real server: it answers, refuses, or stays silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.states import SYN, TCP_CLOSE, TCP_SYN_RECV
from lvsd.packet.view import TCP

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.path import Path
    from lvsd.packet.view import Packet


def note_repeated(connection: Connection, packet: Packet) -> None:
    """Note a SYN that was sent again to a server whose answers we do not see."""
    path = connection.path
    if (
        path.key[-1].bypasses
        and packet.flags & SYN
        and connection.state == TCP_SYN_RECV
        and path.protocol.number == TCP
    ):
        path.server.unanswered += 1


def note_answered(path: Path) -> None:
    """Note that a client and a server have a connection: whatever spoke against it is over."""
    if path.protocol.number == TCP:
        path.server.unanswered = 0
        path.server.refusals.count = 0


def note_reset(connection: Connection, state: int, now: float) -> None:
    """Note that a server ended a connection before it was open, if it did: nobody listens there."""
    path = connection.path
    if connection.state == TCP_SYN_RECV and state == TCP_CLOSE and path.protocol.number == TCP:
        path.server.refusals.note(connection.ends[0][1], now)
