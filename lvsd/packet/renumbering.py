"""The numbers of one TCP connection under FULLNAT: the client's stream in another numbering.

The real server sees every client behind a local address as one host, so the requests' sequence
numbers are moved to an initial one that fits that host. What the server sends keeps its numbers.
With a header ahead of the client's data (PROXY v2) all data moves by its length too::

    client      ISN   ISN+1 ............ data
    server      isn   isn+1 .. header .. isn+1+length .. data

All numbers are modulo 2**32 (RFC 9293, section 3.4), and nothing here knows of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from lvsd.packet.numbers import TcpFlag

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory

MASK: Final = 0xFFFFFFFF
HALF: Final = 1 << 31

_YOUNG: Final = 1 << 30
"""No window is wider (RFC 7323, section 2.3), so no acknowledgement jumps over the distance from
here to `HALF`; beyond it none that still names the header can come."""

_MAX_SYN: Final = 1 + 0xFFFF
"""The numbers that a SYN takes, with as much data as an IP packet holds (RFC 7413)."""

_FIN, _SYN, _RST, _ACK = map(int, (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.ACK))


class Renumbering:
    """Maps sequence numbers, and remembers what both sides have acknowledged.

    ``isn``     the initial sequence number that the server gets to see
    ``telling`` whether packets of the client may still have to tell its address; set at first if
                they are to, and cleared here once the server must know

    ``client_acked``   the client's highest acknowledgement; None before the first
    ``server_acked``   the server's, in the server's numbering; None before the first

    The shift is taken from the SYN. A connection whose SYN was not seen keeps its numbers. A SYN
    with other numbers counts only until the server has acknowledged one: afterwards it is a stray,
    or belongs to a new connection on the same ends.
    """

    __slots__ = (
        "_isn",
        "_shift",
        "_spoke",
        "_synack",
        "client_acked",
        "server_acked",
        "telling",
    )

    def __init__(self, isn: int, *, telling: bool) -> None:
        self._isn = isn & MASK
        self._shift = 0
        self._spoke = False
        self._synack: int | None = None
        self.telling = telling
        self.client_acked: int | None = None
        self.server_acked: int | None = None

    _REMEMBERED: ClassVar[tuple[str, ...]] = __slots__

    def memory(self) -> Memory:
        """Return all that it knows, for `remember`."""
        return tuple(getattr(self, name) for name in self._REMEMBERED)

    def remember(self, memory: Memory) -> None:
        """Go on where another one was; raise ValueError where that was of another kind."""
        for name, value in zip(self._REMEMBERED, memory, strict=True):
            setattr(self, name, value)

    def request(self, seq: int, ack: int, flags: int) -> int:
        """Return the sequence number that the server gets."""
        if flags & (_SYN | _ACK) == _SYN and self.server_acked is None:
            self._begin(seq)
        if ack != self.client_acked and flags & (_ACK | _RST) == _ACK:
            self.client_acked = _later(self.client_acked, ack)
            if self._spoke:
                self._confirm()
        return seq + self._shift & MASK

    def reply(self, seq: int, ack: int, flags: int, length: int) -> int:
        """Return the acknowledgement number that the client gets, with so much payload."""
        if not flags & _ACK:
            return ack
        if flags & _RST:
            return self.to_client(ack)
        if self.telling:
            if flags & _SYN:
                self._synack = seq + 1 & MASK
            elif length or flags & _FIN:
                self._spoke = True
        if ack != self.server_acked:
            self.server_acked = _later(self.server_acked, ack)
            if self._synack is None:
                self.telling = False
        return self.to_client(ack)

    def to_client(self, number: int) -> int:
        """Return a number of the client's stream in the client's numbering."""
        return number - self._shift & MASK

    def to_server(self, number: int) -> int:
        """Return a number of the client's stream in the server's numbering."""
        return number + self._shift & MASK

    def answers_syn(self, ack: int) -> bool:
        """Tell whether a server acknowledges the SYN, or data that came with it."""
        return 0 < ack - self._isn & MASK <= _MAX_SYN

    def unconfirmed(self, ack: int, flags: int) -> bool:
        """Tell whether a client's packet acknowledges the server's SYN and nothing else.

        Whichever of these comes first ends the handshake for the server.
        """
        return flags & (_ACK | _SYN | _RST) == _ACK and ack == self._synack

    def _begin(self, seq: int) -> None:
        """Take the shift from the client's SYN."""
        self._shift = self._isn - seq & MASK

    def _confirm(self) -> None:
        """Note that the client has acknowledged something of a server that has sent data."""
        if self.client_acked != self._synack:
            self.telling = self._spoke = False
            self._synack = None


class RenumberingBehindHeader(Renumbering):
    """Maps sequence numbers where a header goes ahead of the client's data.

    ``header`` is its length in bytes. A connection whose SYN was not seen gets none.
    """

    __slots__ = ("_ahead", "_header", "_led", "_young")
    _REMEMBERED: ClassVar = (*Renumbering.__slots__, *__slots__)

    def __init__(self, isn: int, header: int) -> None:
        super().__init__(isn, telling=True)
        self._header = header
        self._ahead = 0
        self._led = False
        self._young = True

    def request(self, seq: int, ack: int, flags: int) -> int:
        """Return the sequence number that the server gets."""
        new = super().request(seq, ack, flags)
        if flags & _SYN or not self._ahead:
            return new
        if self.telling and self._before_header(new, flags):
            return new
        return new + self._ahead & MASK

    def reply(self, seq: int, ack: int, flags: int, length: int) -> int:
        """Return the acknowledgement number that the client gets, with so much payload."""
        before = self.server_acked
        number = super().reply(seq, ack, flags, length)
        if self._young and self.server_acked != before:
            self._grow()
        return number

    def to_client(self, number: int) -> int:
        """Return a number of the client's stream in the client's numbering; the header has none."""
        if not self._young:
            return number - self._shift - self._ahead & MASK
        offset = number - self._isn & MASK
        if 1 < offset < HALF:
            offset = max(offset - self._ahead, 1)
        return self._isn - self._shift + offset & MASK

    def to_server(self, number: int) -> int:
        """Return a number of the client's stream in the server's numbering."""
        return number + self._shift + self._ahead & MASK

    def leads(self, new: int, flags: int) -> bool:
        """Tell whether the header has to go ahead of a packet that the server gets at ``new``."""
        if not self.telling or not self._ahead or flags & (_ACK | _SYN | _RST) != _ACK:
            return False
        return new == self._isn + 1 + self._ahead & MASK

    def led(self) -> int:
        """Return the header's sequence number, now that it is sent."""
        self._led = True
        return self._isn + 1 & MASK

    def in_header(self, number: int) -> bool:
        """Tell whether a number in the server's numbering is one of the header's."""
        return number - self._isn - 1 & MASK < self._ahead and self._young

    def overlaps_header(self, new: int, flags: int) -> bool:
        """Tell whether a packet at ``new`` could put bytes of the client's where the header goes.

        Old data and probes do (a keepalive begins before what was sent); nothing in them is new.
        """
        if not self.telling or not self._ahead or flags & _SYN:
            return False
        return new - self._isn - 1 - self._ahead & MASK >= HALF

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


def _later(old: int | None, new: int) -> int:
    """Return the one of two sequence numbers that is further on."""
    return new if old is None or new - old & MASK < HALF else old
