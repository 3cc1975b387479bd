"""A layer that moves the sequence numbers of a TCP connection: what every such layer answers.

A connection has two streams: the client's, numbered by ``seq`` in requests and by ``ack`` in
replies, and the server's, the other way round. Each end sees both in its own numbering. A layer
maps numbers between the two, of either stream or of both::

                    client's numbering                server's numbering
    request         seq, ack         -- request -->   seq, ack
    reply           seq, ack         <-- reply ----   seq, ack
    ICMP error      quoted request   <-- sent_request -- what the server got
    ICMP error      what the client got -- sent_reply --> quoted reply

Whoever rewrites segments (`lvsd.packet.tcp_translation`) asks nothing but this, so a layer is a
class of its own in a file of its own: it moves numbers by itself, or what another one, nearer to
the server, makes of them. Layers know no bytes but the numbers', and are told all segments in the
order in which they pass. All numbers are modulo 2**32 (RFC 9293, section 3.4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory

MASK: Final = 0xFFFFFFFF
HALF: Final = 1 << 31


class Numbering(ABC):
    """The numbers of one connection; one that moves them answers for itself.

    ``telling``       whether the client's next segments are to be looked at header by header: the
                      server may still have to be told something with them
    ``client_acked``  the highest acknowledgement of the client, in its numbering; None before any
    ``server_acked``  the same of the server

    ``moves_server`` says whether the server's stream is moved, SACK edges in requests included.
    """

    __slots__ = ("client_acked", "server_acked", "telling")

    moves_server: ClassVar[bool] = False

    def __init__(self, *, telling: bool = False) -> None:
        self.telling = telling
        self.client_acked: int | None = None
        self.server_acked: int | None = None

    @abstractmethod
    def request(self, seq: int, ack: int, flags: int) -> tuple[int, int]:
        """Return both numbers of a client's segment as the server gets them."""

    @abstractmethod
    def reply(self, seq: int, ack: int, flags: int, length: int) -> tuple[int, int]:
        """Return both numbers of a server's segment, with so much payload, as the client does."""

    def sent_request(self, seq: int, ack: int) -> tuple[int, int]:
        """Return the numbers that the client sent, of a request that the server got."""
        return seq, ack

    def sent_reply(self, seq: int, ack: int) -> tuple[int, int]:
        """Return the numbers that the server sent, of a reply that the client got."""
        return seq, ack

    def request_edge(self, number: int) -> int:
        """Return the edge of a client's SACK block, one of the server's stream, for the server."""
        return number

    def reply_edge(self, number: int) -> int:
        """Return the edge of a server's SACK block, one of the client's stream, for the client."""
        return number

    def unconfirmed(self, ack: int, flags: int) -> bool:  # noqa: ARG002 - see the docstring
        """Tell whether a client's packet acknowledges the server's SYN and nothing else.

        ``ack`` is as the server gets it. Whichever such packet comes first ends the handshake for
        the server. Not asked where nothing is told.
        """
        return False

    def overlaps(self, seq: int, flags: int) -> bool:  # noqa: ARG002 - of layers that insert
        """Tell whether the server would take a request's data for what the layer inserts.

        ``seq`` is the server's.
        """
        return False

    def lead(self, seq: int, flags: int) -> int | None:  # noqa: ARG002 - same reason
        """Return at which number what is inserted goes, if it has to go ahead of a request.

        ``seq`` is the request's, both are the server's. What is asked for is taken to be sent.
        """
        return None

    def inserts(self, number: int) -> bool:  # noqa: ARG002 - same reason
        """Tell whether a number, in the server's numbering, is one of what was inserted."""
        return False

    @abstractmethod
    def answers_syn(self, ack: int) -> bool:
        """Tell whether a server acknowledges the SYN that it got, or data that came with it."""

    @abstractmethod
    def memory(self) -> Memory:
        """Return all that the layer has learned, for `remember`."""

    @abstractmethod
    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""


def later(old: int | None, new: int) -> int:
    """Return the one of two sequence numbers that is further on."""
    return new if old is None or new - old & MASK < HALF else old
