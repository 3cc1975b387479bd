"""FULLNAT's rewriting: what TCP's and UDP's have in common.

Other plans are compiled to rewriters that many connections share. FULLNAT's names the client, and
has a state, so each connection has an object, a small one: the two pairs of ends that packets
leave with, and the difference that they make. What it does beyond that is a matter of layers, which
answer for themselves: of TCP one moves the sequence numbers (`lvsd.packet.numbering`), and one,
which all connections of a path share, tells the server who the client is (`lvsd.packet.telling`).
`lvsd.packet.translator` puts them together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.packet.checksum import MODULUS
from lvsd.packet.exchange import turned

if TYPE_CHECKING:
    from lvsd.packet.view import Packet

Memory: TypeAlias = tuple[int | bool | bytes | None, ...]
"""What a translation has learned: plain values, which may go to a file or another process."""

_V4_KEY: Final = 13
"""The length of a connection key of IPv4."""


class Translation(ABC):
    """One connection's rewriting: client and virtual ends for local and real ones, and back.

    ``key`` is the connection key of requests as they come, ``reply_key`` of replies; both are of
    one family. Either's ends, turned, are those that the other's packets leave with.

    Packets that are handed in have a TTL above 1, which is made one less, and the connection's
    ends; what leaves goes by a raw socket. Nothing that a packet holds raises anything, a wrong
    checksum stays wrong, and padding behind the IP length goes.
    """

    __slots__ = ("_addresses", "_change", "_to_client", "_to_server")

    def __init__(self, key: bytes, reply_key: bytes) -> None:
        self._to_server = turned(reply_key)
        self._to_client = turned(key)
        # What a request's checksum changes by; a reply's does by as much the other way.
        server = int.from_bytes(self._to_server, "big")
        client = int.from_bytes(self._to_client, "big")
        self._change = (server - client) % MODULUS
        # The addresses' share in it, for the checksum of the IP header; IPv6 has none.
        is_v4 = len(key) == _V4_KEY
        self._addresses = ((server >> 32) - (client >> 32)) % MODULUS if is_v4 else 0

    @property
    def server_acked(self) -> int | None:
        """The number that the server expects next, as it said last, in its numbering."""
        return None

    @abstractmethod
    def request(self, packet: Packet, mtu: int) -> list[bytes]:
        """Return what the server gets for a client's packet, in order; the way's MTU is in bytes.

        Nearly always one packet. Where a PROXY header has to go ahead of the client's data, it
        goes as a segment of its own, and alone if the packet had no data; UOA over IPv6 goes ahead
        too. A packet that would be too long for the way with its option goes without it. A
        datagram does not go without a PROXY header, though, as its first bytes would then be taken
        for one, and they are the client's: it may come out longer than ``mtu``, and of one that no
        IP packet can hold nothing is left.
        """

    @abstractmethod
    def reply(self, packet: Packet) -> bytes:
        """Return what the client gets for a server's packet."""

    @abstractmethod
    def request_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the client gets for an ICMP error about a request.

        It comes from the VIP and quotes the client's own packet: its ends, its sequence number,
        and without what was put in here, as far as the quote shows that. An MTU in it is lowered
        by what a request grows here. ``inner`` as `icmp.embedded` loaded it.
        """

    @abstractmethod
    def reply_error(self, packet: Packet, inner: Packet) -> bytes:
        """Return what the server gets for an ICMP error about a reply.

        It comes from the local address, where replies go, and quotes the server's own ends and
        acknowledgement.
        """

    def resets(self) -> tuple[bytes, bytes] | None:
        """Return a RST to the client and one to the server, None if they would not be believed.

        Each has exactly the sequence number that its receiver acknowledged last: to any other
        Linux answers with a challenge (RFC 5961, section 3.2).
        """
        return None

    def reset_server(self) -> list[bytes]:
        """Return a RST to the server alone; nothing before its first acknowledgement."""
        return []

    def refuse_old(self, packet: Packet) -> list[bytes]:  # noqa: ARG002 - TCP looks at it
        """Return what the server gets for a packet of an older connection on the same ends.

        The director before this one may have had such a connection, and the server may have it
        still: it answers a SYN as if that were a mistake, with the number that it waits for (RFC
        9293, section 3.10.7.4; RFC 5961, section 4). A RST with that number makes it give up, and
        the SYN, once more, begins anew. The client learns nothing of it.

        Nothing: the packet may be this connection's, or the server has answered it before.
        """
        return []

    def memory(self) -> Memory:
        """Return what it has learned of its connection, beyond its keys, for `remember`."""
        return ()

    def remember(self, memory: Memory) -> None:
        """Go on where another one was whose `memory` this is.

        Raise ValueError where that was of another kind.
        """
        if memory:
            raise ValueError(f"there is nothing to remember {memory} by")
