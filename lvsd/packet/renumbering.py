"""The numbers of one TCP connection under FULLNAT: the client's stream in another numbering.

The real server sees every client behind a local address as one host, so the requests' sequence
numbers are moved to an initial one that fits that host. What the server sends keeps its numbers.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Final

from lvsd.packet.numbering import MASK, Numbering, later
from lvsd.packet.numbers import TcpFlag

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory

_MAX_SYN: Final = 1 + 0xFFFF
"""The numbers that a SYN takes, with as much data as an IP packet holds (RFC 7413)."""

_FIN, _SYN, _RST, _ACK = map(int, (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.ACK))


class Renumbering(Numbering):
    """Moves the client's stream to an initial number, and remembers what both sides acknowledged.

    ``isn`` is the initial sequence number that the server gets to see. ``telling`` is set at first
    if packets of the client are to tell its address, and cleared here once the server must know.

    The shift is taken from the SYN. A connection whose SYN was not seen keeps its numbers. A SYN
    with other numbers counts only until the server has acknowledged one: afterwards it is a stray,
    or belongs to a new connection on the same ends.
    """

    __slots__ = ("_isn", "_shift", "_spoke", "_synack")

    REMEMBERED: ClassVar[tuple[str, ...]] = (*__slots__, *Numbering.__slots__)
    """What `memory` has, in this order."""
    recall: ClassVar[attrgetter[Memory]] = attrgetter(*REMEMBERED)

    def __init__(self, isn: int, *, telling: bool) -> None:
        self.telling = telling
        self.client_acked: int | None = None
        self.server_acked: int | None = None
        self._isn = isn & MASK
        self._shift = 0
        self._spoke = False
        self._synack: int | None = None

    def memory(self) -> Memory:
        """Return all that it knows, for `remember`."""
        return self.recall(self)

    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""
        for name, value in zip(self.REMEMBERED, memory, strict=True):
            setattr(self, name, value)

    def request(self, seq: int, ack: int, flags: int) -> tuple[int, int]:
        """Return the numbers that the server gets."""
        if flags & (_SYN | _ACK) == _SYN and self.server_acked is None:
            self._begin(seq)
        if ack != self.client_acked and flags & (_ACK | _RST) == _ACK:
            self.client_acked = later(self.client_acked, ack)
            if self._spoke:
                self._confirm()
        return seq + self._shift & MASK, ack

    def reply(self, seq: int, ack: int, flags: int, length: int) -> tuple[int, int]:
        """Return the numbers that the client gets, with so much payload."""
        if not flags & _ACK:
            return seq, ack
        if flags & _RST:
            return seq, self.reply_edge(ack)
        if self.telling:
            if flags & _SYN:
                self._synack = seq + 1 & MASK
            elif length or flags & _FIN:
                self._spoke = True
        if ack != self.server_acked:
            self.server_acked = later(self.server_acked, ack)
            if self._synack is None:
                self.telling = False
        return seq, self.reply_edge(ack)

    def sent_request(self, seq: int, ack: int) -> tuple[int, int]:
        """Return the numbers of a request in the client's numbering."""
        return self.reply_edge(seq), ack

    def sent_reply(self, seq: int, ack: int) -> tuple[int, int]:
        """Return the numbers of a reply in the server's numbering."""
        return seq, ack + self._shift & MASK

    def reply_edge(self, number: int) -> int:
        """Return a number of the client's stream in the client's numbering."""
        return number - self._shift & MASK

    def answers_syn(self, ack: int) -> bool:
        """Tell whether a server acknowledges the SYN, or data that came with it."""
        return 0 < ack - self._isn & MASK <= _MAX_SYN

    def unconfirmed(self, ack: int, flags: int) -> bool:
        """Tell whether a client's packet acknowledges the server's SYN and nothing else."""
        return flags & (_ACK | _SYN | _RST) == _ACK and ack == self._synack

    def _begin(self, seq: int) -> None:
        """Take the shift from the client's SYN."""
        self._shift = self._isn - seq & MASK

    def _confirm(self) -> None:
        """Note that the client has acknowledged something of a server that has sent data."""
        if self.client_acked != self._synack:
            self.telling = self._spoke = False
            self._synack = None
