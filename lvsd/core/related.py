"""Packets that belong to a connection without having its key: ICMP errors, AH and ESP.

An ICMP error is found by the packet that it quotes, and goes the way that the connection's own
packets go (ip_vs_in_icmp, ip_vs_out_icmp). One about a tunnel of ours quotes the tunnel's packet:
it becomes an error for the client, about the client's packet. AH and ESP have no ports; they go
the way of the key exchange between the same hosts, UDP on port 500 (ip_vs_proto_ah_esp.c).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from lvsd.core import states
from lvsd.core.connection import TranslatedConnection
from lvsd.core.icmp_limits import Kind
from lvsd.core.path import Exit, leave, path_to
from lvsd.core.verdict import Departure, Reason, Verdict
from lvsd.packet import icmp
from lvsd.packet.exchanged_error import MIN_MTU as LEAST_MTU
from lvsd.packet.numbers import Icmp, Icmp6
from lvsd.packet.tunnel import unwrap
from lvsd.packet.view import ICMP, ICMPV6, UDP, Fault, Packet, reversed_key
from lvsd.packet.view import key as make_key

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.director import Director
    from lvsd.core.path import Path

ESP, AH = 50, 51
ISAKMP_PORT: Final = 500

MIN_MTU: Final = {4: 552, 6: 1280}
"""The least path MTU that an ICMP error is believed about (net.ipv4.route.min_pmtu, RFC 8200)."""

_KINDS: Final[dict[tuple[int, int], Kind]] = {
    (4, Icmp.UNREACHABLE): Kind.UNREACHABLE,
    (4, Icmp.TIME_EXCEEDED): Kind.TIME_EXCEEDED,
    (6, Icmp6.UNREACHABLE): Kind.UNREACHABLE,
    (6, Icmp6.TIME_EXCEEDED): Kind.TIME_EXCEEDED,
}


class Related:
    """Handles such packets for a director."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._inner = Packet()
        self._wrapped = Packet()
        self._ipsec = {ESP: states.ipsec(ESP, "ESP"), AH: states.ipsec(AH, "AH")}

    def handle(self, packet: Packet, mark: int, indev: int, now: float) -> bytes | Verdict:
        """Decide about a packet that is neither TCP nor UDP nor SCTP."""
        if packet.protocol in {ICMP, ICMPV6}:
            return self._icmp(packet, mark, indev, now)
        if packet.protocol in self._ipsec:
            return self._follow_key_exchange(packet, mark, indev, now)
        return self._director.strays.leave(packet, mark, now)

    # --- ICMP -------------------------------------------------------------------------------

    def _icmp(self, packet: Packet, mark: int, indev: int, now: float) -> bytes | Verdict:
        director, inner = self._director, self._inner
        if not icmp.is_error(packet):
            return director.strays.leave(packet, mark, now)
        fault = icmp.embedded(packet, inner)
        if fault is Fault.BAD_CHECKSUM:
            return director.drop(Reason.BAD_CHECKSUM)
        if fault is Fault.FRAGMENTED:
            return director.drop(Reason.FRAGMENT)
        if fault is not None:
            # Not ours: what it quotes is no packet of a connection.
            return director.strays.leave(packet, mark, now)
        about = reversed_key(inner.key)
        connection = director.table.by_key.get(about)
        if connection is None:
            return self._about_tunnel(packet, inner, mark, now)
        if connection.key == about:
            return self._to_server(connection, packet, indev)
        return self._to_client(connection, packet)

    def _to_server(self, connection: Connection, packet: Packet, indev: int) -> bytes | Verdict:
        """Send an error about a reply the way that the client's packets go."""
        director, path = self._director, connection.path
        path.count_in(packet.end)
        if path.exit is Exit.HOST:
            return director.deliver(packet)
        if packet.ttl <= 1:
            return director.drop(Reason.TTL_EXPIRED)
        if path.exit is Exit.VERDICT:
            hop = path.hop
            return icmp.rewrite_error(
                packet,
                self._inner,
                outer_destination=hop.rip,
                inner_source=(hop.rip, hop.rport),
            )
        if isinstance(connection, TranslatedConnection):
            data = connection.translation.reply_error(packet, self._inner)
            director.departures.append(Departure(data, None, packet.data, indev))
            return Verdict.TAKEN
        return director.depart(connection, path, packet, indev)

    def _to_client(self, connection: Connection, packet: Packet) -> bytes | Verdict:
        """Send an error about a request to the client, as one about what the client sent."""
        director, path = self._director, connection.path
        path.count_out(packet.end)
        if icmp.is_port_unreachable(packet):
            path.server.refusals.note(connection, director.now)
        if isinstance(connection, TranslatedConnection):
            if packet.ttl <= 1:
                return director.drop(Reason.TTL_EXPIRED)
            if packet.version == 6 and (mtu := icmp.next_hop_mtu(packet)):
                # The client will not go below 1280, so that TOA must go where that is all there is.
                path.server.mtu = min(path.server.mtu, max(mtu, MIN_MTU[6]))
            data = connection.translation.request_error(packet, self._inner)
            director.departures.append(Departure(data))
            return Verdict.TAKEN
        hop, own = path.hop, director.local_addresses
        # An error from the VIP to the host that has it would be a martian.
        is_ours = own is not None and packet.destination in own
        return icmp.rewrite_error(
            packet,
            self._inner,
            outer_source=None if is_ours else hop.vip,
            inner_destination=(hop.vip, hop.vport),
        )

    def _about_tunnel(self, packet: Packet, outer: Packet, mark: int, now: float) -> Verdict:
        """Tell the client of an error about the tunnel that its packet was in.

        ``outer`` is the tunnel's packet as it was quoted. Where too little was quoted to find the
        client's packet in it, there is nobody to tell.
        """
        director, wrapped = self._director, self._wrapped
        inside = unwrap(outer.data, director.tunnel_ports)
        if inside is None or wrapped.load(inside, quoted=True) is not None:
            return director.strays.leave(packet, mark, now)
        connection = director.table.by_key.get(wrapped.key)
        if (
            connection is None
            or connection.path.exit is not Exit.TUNNEL
            or connection.path.server.address != outer.destination
        ):
            return director.strays.leave(packet, mark, now)
        path = connection.path
        path.count_out(packet.end)
        mtu = icmp.next_hop_mtu(packet)
        if mtu is None:
            kind = _KINDS.get((packet.version, packet.icmp_type), Kind.OTHER)
            director.outbox.answer(wrapped, kind, now, partial(icmp.relayed, packet))
        else:
            path.server.mtu = min(path.server.mtu, max(mtu, MIN_MTU[packet.version]))
            if not wrapped.dont_fragment:
                return Verdict.TAKEN
            room = max(path.server.mtu - path.overhead, LEAST_MTU[wrapped.version])
            director.outbox.tell_too_big(wrapped, room)
        return Verdict.TAKEN

    # --- AH and ESP -------------------------------------------------------------------------

    def _follow_key_exchange(
        self, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Send a packet of IPsec the way of the connection between the same hosts' port 500."""
        director = self._director
        port = ISAKMP_PORT
        exchange = make_key(UDP, packet.source, port, packet.destination, port)
        connection = director.table.by_key.get(exchange)
        if connection is None or connection.path.exit is Exit.TRANSLATED:
            return director.strays.leave(packet, mark, now)
        server = connection.path.server
        if not server.available:
            return director.drop(Reason.SERVER_GONE)
        connection.expires = now + connection.path.timeouts[connection.state]
        try:
            path = self._ipsec_path(connection, packet)
        except Exception as error:  # noqa: BLE001 - a forwarder's; it costs this packet
            server.service.fault = error
            return director.drop(Reason.PLUGIN_FAULT)
        if connection.key == exchange:
            path.count_in(packet.end)
            return director.go(connection, path, packet, indev, now)
        path.count_out(packet.end)
        return director.let_pass() if path.reply is None else path.reply(packet)

    def _ipsec_path(self, connection: Connection, packet: Packet) -> Path:
        """Return the way of a key exchange's connection, for a packet of AH or ESP."""
        followed = connection.path
        protocol = self._ipsec[packet.protocol]
        path = path_to(followed.server, protocol, (followed.hop.vip, 0), 0, followed.key[-1])
        leave(path)
        return path
