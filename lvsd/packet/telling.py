"""A layer that tells real servers who the client is: what every such layer answers.

One serves all connections of a path; what a connection has to remember of it is with the
connection. `TcpTelling` and `UdpTelling` tell nothing, and are what the others go by: they take out
of a client's packets what a server could mistake for something that we told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from lvsd.packet import tcp_header
from lvsd.packet.client_address import EXPERIMENTAL_KINDS, UOA_KIND, ip_options
from lvsd.packet.layout import IPV4
from lvsd.packet.numbers import TcpFlag
from lvsd.packet.renumbering import Renumbering
from lvsd.packet.tcp_options import NOP, TIMESTAMP

if TYPE_CHECKING:
    from lvsd.packet.client_address import ClientAddressCounts
    from lvsd.packet.exchanged_error import Insertion
    from lvsd.packet.numbering import Numbering
    from lvsd.packet.segment import Datagram, Segment
    from lvsd.packet.view import Packet

FAST_OPEN: Final = 34
"""TCP Fast Open's cookie (RFC 7413). A server that takes it reads data before the handshake ends,
and with it before it can know who the client is; so a client whose address is told gets none."""

MAX_LENGTH: Final = 0xFFFF

_SYN: Final = int(TcpFlag.SYN)


class TcpTelling:
    """What is told of TCP clients: nothing.

    ``counts`` is shared by all paths. ``overhead`` is how many bytes longer than the client's
    packet the server's may be.

    ``forgeable`` are the kinds of TCP option that a client must not send: all that could be TOA.
    Even where none is told, a server may look for one. ``refused`` are those that its SYN must not
    have, besides: the clocks of clients are unrelated. ``takes_syn_data`` says whether data that
    comes with a SYN gets through; where the address is to be told it is told before any data.
    """

    __slots__ = ("counts", "forgeable", "overhead", "refused")

    takes_syn_data: ClassVar[bool] = True

    def __init__(
        self, counts: ClientAddressCounts, *, refused: frozenset[int] = frozenset()
    ) -> None:
        self.counts = counts
        self.overhead = 0
        self.forgeable: frozenset[int] = EXPERIMENTAL_KINDS
        self.refused: frozenset[int] = EXPERIMENTAL_KINDS | {TIMESTAMP} | refused

    def numbering(self, isn: int) -> Numbering:
        """Return the layer of numbers for a connection that tells like this."""
        return Renumbering(isn, telling=False)

    def refuse(self, header: bytearray, found: tcp_header.Found, at: int, flags: int) -> None:
        """Take out of a client's header, copied from ``at`` on, the options that it may not have.

        What could be taken for TOA is counted as forged.
        """
        kinds = self.refused if flags & _SYN else self.forgeable
        taken = tcp_header.blank(header, found, at, kinds)
        if taken and not self.forgeable.isdisjoint(taken):
            self.counts.forged += 1

    def request(
        self,
        segment: Segment,
        numbering: Numbering,  # noqa: ARG002 - of those that tell
        mtu: int,  # noqa: ARG002 - same reason
        to_client: bytes,  # noqa: ARG002 - same reason
    ) -> list[Segment]:
        """Return the segments that leave for a client's, which has its new numbers already.

        ``mtu`` is that of the way to the server; ``to_client`` are the ends of replies, the
        virtual one and the client's, as `lvsd.packet.exchange` has them.
        """
        return [segment]

    def answer(self, segment: Segment) -> None:
        """Change a server's SYN-ACK as the client is to get it."""

    def quoted(
        self,
        inner: Packet,  # noqa: ARG002 - of those that tell
        numbering: Numbering,  # noqa: ARG002 - same reason
        to_client: bytes,  # noqa: ARG002 - same reason
    ) -> Insertion | None:
        """Return what an ICMP error about a request quotes that the client did not send.

        ``inner`` is the quoted packet, whose TCP header is there in full.
        """
        return None


class UdpTelling:
    """What is told of UDP clients: nothing.

    ``counts`` and ``overhead`` as `TcpTelling` has them. ``growth`` is how many bytes longer every
    request becomes, whether there is room or not; ``first`` is how many of a connection's first
    datagrams tell, one after the other.
    """

    __slots__ = ("counts", "growth", "overhead")

    first: ClassVar[int] = 0

    def __init__(self, counts: ClientAddressCounts) -> None:
        self.counts = counts
        self.overhead = 0
        self.growth = 0

    def kept(self, to_client: bytes) -> bytes:  # noqa: ARG002 - of those that keep some
        """Return the bytes that a connection keeps, since all its datagrams get them.

        ``to_client`` are the ends of replies, the virtual one and the client's.
        """
        return b""

    def request(
        self,
        datagram: Datagram,
        mtu: int,  # noqa: ARG002 - of those that tell
        to_server: bytes,  # noqa: ARG002 - same reason
        to_client: bytes,  # noqa: ARG002 - same reason
        *,
        kept: bytes,  # noqa: ARG002 - same reason
        tells: bool,  # noqa: ARG002 - same reason
    ) -> list[bytes] | None:
        """Change a client's datagram; return the packets that go ahead of it, None to drop it.

        ``tells`` says that it is one of those that tell.
        """
        self.refuse(datagram)
        return []

    def refuse(self, datagram: Datagram) -> None:
        """Take out of a client's datagram the options that a server could take for UOA."""
        options = datagram.options
        if not options:
            return
        places = [(at, size) for kind, at, size in ip_options(datagram.packet) if kind == UOA_KIND]
        for at, size in places:
            start = at - IPV4.length
            options[start : start + size] = bytes((NOP,)) * size
        self.counts.forged += bool(places)

    def quoted(
        self,
        inner: Packet,  # noqa: ARG002 - of those that tell
        to_client: bytes,  # noqa: ARG002 - same reason
        kept: bytes,  # noqa: ARG002 - same reason
    ) -> Insertion | None:
        """Return what an ICMP error about a request quotes that the client did not send."""
        return None
