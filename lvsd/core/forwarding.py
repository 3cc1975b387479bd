"""A packet leaves: by the queue's verdict, by a socket, to the host, or not at all.

What must not be too long for its way, or has come to the end of its TTL, is refused here, and its
sender is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core.icmp_limits import Kind
from lvsd.core.path import Exit
from lvsd.core.verdict import Departure, Reason, Verdict
from lvsd.packet import icmp
from lvsd.packet.exchanged_error import MIN_MTU
from lvsd.packet.layout import LAYOUTS
from lvsd.packet.rewrite import one_hop_on
from lvsd.packet.view import TCP, Packet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvsd.core.connection import Connection
    from lvsd.core.network import Network
    from lvsd.core.outbox import Outbox
    from lvsd.core.path import Path
    from lvsd.core.tally import Tally

TOLD_AT_ONCE: Final = 4096
"""Flows that are remembered as told that their datagrams are too big; then it begins anew."""

_VERDICT, _HOST = Exit.VERDICT, Exit.HOST


class Forwarding:
    """Sends packets of connections on their way.

    ``by_key`` finds connections. ``replaced`` is one that was replaced by what the present packet
    opens: what is refused meanwhile counts as its own.
    """

    def __init__(
        self, by_key: Mapping[bytes, Connection], network: Network, outbox: Outbox, tally: Tally
    ) -> None:
        self._by_key = by_key
        self._network = network
        self._outbox = outbox
        self._tally = tally
        self._told: set[bytes] = set()
        self._returned = Packet()
        self.replaced: Connection | None = None

    # --- towards the real server ----------------------------------------------------------------

    def go(
        self, connection: Connection, path: Path, packet: Packet, indev: int, now: float
    ) -> bytes | Verdict:
        """Send a request on by ``path``, unless it has come to its end or is too long for it."""
        exit_ = path.exit
        if exit_ is _HOST:
            return self.deliver(packet)
        if packet.ttl <= 1:
            return self.end_of_ttl(packet, now)
        mtu = path.server.mtu - path.overhead
        if packet.end > mtu and self._is_too_big(packet, mtu, indev):
            return self._refuse_long(packet, mtu)
        if exit_ is _VERDICT:
            if packet.version == 6 and mtu < packet.end <= self._network.link_mtus.get(indev, 0):
                return self._cut(path, packet, indev)
            return path.request(packet)
        if self._outbox.depart(connection, path, packet, indev):  # `depart`, a call sooner
            return Verdict.TAKEN
        return self._tally.drop(Reason.TOO_BIG)

    def _cut(self, path: Path, packet: Packet, indev: int) -> Verdict:
        """Send an IPv6 packet that NAT rewrites in pieces, by a socket.

        The kernel cuts only what it has put together itself. Of others it tells the sender, quoting
        the packet as it is rewritten, which the sender does not know.
        """
        rewritten = Packet()
        rewritten.load(path.request(packet))
        if self._outbox.send(one_hop_on(rewritten), path.server.mtu, packet.data, indev):
            return Verdict.TAKEN
        return self._tally.drop(Reason.TOO_BIG)

    def depart(self, connection: Connection, path: Path, packet: Packet, indev: int) -> Verdict:
        """Send a packet to the real server by a socket."""
        if self._outbox.depart(connection, path, packet, indev):
            return Verdict.TAKEN
        return self._tally.drop(Reason.TOO_BIG)

    def deliver(self, packet: Packet) -> Verdict:
        """Let the host have a packet, if the VIP is its own: it would be routed otherwise."""
        if self._network.has(packet.destination):
            return Verdict.PASS
        return self._tally.drop(Reason.NOT_LOCAL)

    def too_long(self, departure: Departure, mtu: int) -> None:
        """Handle a packet that its way turned out too narrow for: cut it, or tell its sender.

        To be called by whoever sends; ``mtu`` is what the way takes, in bytes. What is to be sent
        instead is in the outbox again.
        """
        original = self._returned
        if original.load(departure.original) is not None or mtu >= len(departure.data):
            self._tally.drop(Reason.TOO_BIG)
            return
        grown = max(0, len(departure.data) - original.end)
        data, neighbour, original_data, indev = departure
        if self._is_too_big(original, mtu - grown, indev):
            self._refuse_long(original, mtu - grown)
        elif not self._outbox.send(data, mtu, original_data, indev, neighbour):
            self._tally.drop(Reason.TOO_BIG)

    # --- towards the client -----------------------------------------------------------------------

    def reply(self, connection: Connection, packet: Packet, indev: int, now: float) -> Verdict:
        """Send a server's packet on that no shared rewriter takes."""
        translation = connection.translation
        if translation is None:
            return Verdict.PASS
        if packet.ttl <= 1:
            return self.end_of_ttl(packet, now)
        data = translation.reply(packet)
        self._outbox.departures.append(Departure(data, None, packet.data, indev))
        return Verdict.TAKEN

    def refuse_old(self, connection: Connection, packet: Packet) -> bool:
        """Make a server give up an older connection on the same ends; return whether it has one."""
        if connection.translation is None:
            return False
        refusal = connection.translation.refuse_old(packet)
        self._outbox.departures += map(Departure, refusal)
        return bool(refusal)

    # --- not at all ---------------------------------------------------------------------------

    def end_of_ttl(self, packet: Packet, now: float) -> Verdict:
        """Drop a packet whose TTL ends here, and tell its sender."""
        told = self._outbox.answer(packet, Kind.TIME_EXCEEDED, now, icmp.time_exceeded)
        return self._refuse(packet, Reason.TTL_EXPIRED, told)

    def unreachable(self, packet: Packet, reason: Reason, now: float) -> Verdict:
        """Drop a packet that no real server takes, and tell its sender."""
        told = self._outbox.answer(packet, Kind.UNREACHABLE, now, icmp.port_unreachable)
        return self._refuse(packet, reason, told)

    def _is_too_big(self, packet: Packet, mtu: int, indev: int) -> bool:
        """Whether a packet that exceeds ``mtu`` must be refused rather than fragmented.

        IPv4 without DF may be fragmented further on. A packet larger than the link it came by
        was put together from fragments, which the kernel makes anew from it on the way out. A
        smaller one does not show it, and an IPv6 sender that knows our MTU still sends fragments
        of it: so a flow's datagrams are refused once, and cut from then on.

        One that every network takes is never too big: its sender would not send less (RFC 8200,
        section 5), so what a tunnel makes of it is cut (RFC 2473, section 7.1).
        """
        if packet.end > self._network.link_mtus.get(indev, packet.end):
            return False
        if packet.end <= max(mtu, MIN_MTU[packet.version]):
            return False
        if packet.version == 4 or packet.protocol == TCP:
            return packet.dont_fragment
        if packet.key in self._told:
            return False
        if len(self._told) >= TOLD_AT_ONCE:
            self._told.clear()
        self._told.add(packet.key)
        return True

    def _refuse_long(self, packet: Packet, mtu: int) -> Verdict:
        """Drop a packet that is too long, and tell its sender what goes, at least what always does.

        Senders ignore less, as a forgery (RFC 8201, section 4).
        """
        told = max(mtu, MIN_MTU[packet.version])
        return self._refuse(packet, Reason.TOO_BIG, self._outbox.tell_too_big(packet, told))

    def _refuse(self, packet: Packet, reason: Reason, told: int) -> Verdict:
        """Drop a packet whose sender was told so by a message of so many bytes, 0: by none.

        To IPVS that is a packet from the VIP, the server's in DR and TUN (ip_vs_out_icmp).
        """
        if told:
            connection = self._by_key.get(packet.key) or self.replaced
            if connection is not None and connection.path.key[-1].bypasses:
                connection.path.count_out(LAYOUTS[packet.version].length + told)
        return self._tally.drop(reason)
