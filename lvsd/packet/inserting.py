"""The numbers of one TCP connection where a header goes ahead of the client's data (PROXY v2).

All of the client's data moves by the header's length, besides the move to another initial number::

    client      ISN   ISN+1 ............ data
    server      isn   isn+1 .. header .. isn+1+length .. data
"""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar, Final

from lvsd.packet.numbering import HALF, MASK
from lvsd.packet.numbers import TcpFlag
from lvsd.packet.renumbering import Renumbering

_YOUNG: Final = 1 << 30
"""No window is wider (RFC 7323, section 2.3), so no acknowledgement jumps over the distance from
here to `HALF`; beyond it none that still names the header can come."""

_SYN, _RST, _ACK = map(int, (TcpFlag.SYN, TcpFlag.RST, TcpFlag.ACK))


class RenumberingBehindHeader(Renumbering):
    """Renumbers the client's stream behind a header, which the server has to get first.

    ``header`` is its length in bytes. A connection whose SYN was not seen gets none.
    """

    __slots__ = ("_ahead", "_header", "_led", "_young")
    REMEMBERED: ClassVar = (*Renumbering.REMEMBERED, *__slots__)
    recall: ClassVar = attrgetter(*REMEMBERED)

    def __init__(self, isn: int, header: int) -> None:
        super().__init__(isn, telling=True)
        self._header = header
        self._ahead = 0
        self._led = False
        self._young = True

    def request(self, seq: int, ack: int, flags: int) -> tuple[int, int]:
        """Return the numbers that the server gets."""
        new, ack = super().request(seq, ack, flags)
        if flags & _SYN or not self._ahead:
            return new, ack
        if self.telling and self._before_header(new, flags):
            return new, ack
        return new + self._ahead & MASK, ack

    def reply(self, seq: int, ack: int, flags: int, length: int) -> tuple[int, int]:
        """Return the numbers that the client gets, with so much payload."""
        before = self.server_acked
        numbers = super().reply(seq, ack, flags, length)
        if self._young and self.server_acked != before:
            self._grow()
        return numbers

    def sent_reply(self, seq: int, ack: int) -> tuple[int, int]:
        """Return the numbers of a reply in the server's numbering."""
        return seq, ack + self._shift + self._ahead & MASK

    def reply_edge(self, number: int) -> int:
        """Return a number of the client's stream in the client's numbering; the header has none."""
        if not self._young:
            return number - self._shift - self._ahead & MASK
        offset = number - self._isn & MASK
        if 1 < offset < HALF:
            offset = max(offset - self._ahead, 1)
        return self._isn - self._shift + offset & MASK

    def unconfirmed(self, ack: int, flags: int) -> bool:  # noqa: ARG002 - whatever they are
        """Return False: the header is what tells the server."""
        return False

    def overlaps(self, seq: int, flags: int) -> bool:
        """Tell whether a packet could put bytes of the client's where the header goes.

        Old data and probes do (a keepalive begins before what was sent); nothing in them is new.
        """
        if not self.telling or not self._ahead or flags & _SYN:
            return False
        return seq - self._isn - 1 - self._ahead & MASK >= HALF

    def lead(self, seq: int, flags: int) -> int | None:
        """Return the header's number, if it has to go ahead of a packet."""
        if not self.telling or not self._ahead or flags & (_ACK | _SYN | _RST) != _ACK:
            return None
        if seq != self._isn + 1 + self._ahead & MASK:
            return None
        self._led = True
        return self._isn + 1 & MASK

    def inserts(self, number: int) -> bool:
        """Tell whether a number in the server's numbering is one of the header's."""
        return number - self._isn - 1 & MASK < self._ahead and self._young

    def _begin(self, seq: int) -> None:
        super()._begin(seq)
        self._ahead = self._header

    def _confirm(self) -> None:
        """Leave it to the server's acknowledgement of the header, if there is one."""
        if not self._ahead:
            super()._confirm()

    def _before_header(self, new: int, flags: int) -> bool:
        """Tell whether the server may not have got the header that a packet counts upon.

        Of a keepalive that repeats the SYN's number, and of a RST in answer to the SYN-ACK.
        ``new`` leaves the header out.
        """
        offset = new - self._isn & MASK
        return not offset or bool(offset == 1 and flags & _RST and not self._led)

    def _grow(self) -> None:
        """Note how far the server has come: past the header, or so far that none can be meant."""
        offset = (self.server_acked or 0) - self._isn & MASK
        if self._ahead < offset < HALF:
            self.telling = False
            self._young = offset < _YOUNG
