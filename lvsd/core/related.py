"""Packets that belong to a connection without having its key: ICMP errors, AH and ESP.

An ICMP error is found by the packet that it quotes, and goes the way that the connection's own
packets go (ip_vs_in_icmp, ip_vs_out_icmp). One about one of our tunnels quotes the tunnel's packet:
it becomes an error for the client, about the client's packet. AH and ESP have no ports; they go
the way of the key exchange between the same hosts, UDP on port 500 (ip_vs_proto_ah_esp.c).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from lvsd.core import states
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
    from lvsd.core.flows import Flows
    from lvsd.core.forwarding import Forwarding
    from lvsd.core.network import Network
    from lvsd.core.outbox import Outbox
    from lvsd.core.path import Path
    from lvsd.core.strays import Strays
    from lvsd.core.tally import Tally

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
    """Handles such packets."""

    def __init__(
        self,
        flows: Flows,
        network: Network,
        forwarding: Forwarding,
        strays: Strays,
        outbox: Outbox,
        tally: Tally,
    ) -> None:
        self._find = flows.table.find
        self._network = network
        self._forwarding = forwarding
        self._strays = strays
        self._outbox = outbox
        self._tally = tally
        self._inner = Packet()
        self._wrapped = Packet()
        self._ipsec = {ESP: states.ipsec(ESP, "ESP"), AH: states.ipsec(AH, "AH")}

    def handle(self, packet: Packet, mark: int, indev: int, now: float) -> bytes | Verdict:
        """Decide about a packet that is neither TCP nor UDP nor SCTP."""
        if packet.protocol in {ICMP, ICMPV6}:
            return self._icmp(packet, mark, indev, now)
        if packet.protocol in self._ipsec:
            return self._follow_key_exchange(packet, mark, indev, now)
        return self._strays.leave(packet, mark, now)

    # --- ICMP -------------------------------------------------------------------------------

    def _icmp(self, packet: Packet, mark: int, indev: int, now: float) -> bytes | Verdict:
        inner = self._inner
        fault = icmp.embedded(packet, inner)
        if fault is Fault.BAD_CHECKSUM:
            return self._tally.drop(Reason.BAD_CHECKSUM)
        if fault is Fault.FRAGMENTED:
            return self._tally.drop(Reason.FRAGMENT)
        if fault is not None:
            # Not ours: it is no error, or what it quotes is no packet of a connection.
            return self._strays.leave(packet, mark, now)
        about = reversed_key(inner.key)
        connection = self._find(about)
        if connection is None:
            return self._about_tunnel(packet, inner, mark, now)
        if connection.key == about:
            return self._to_server(connection, packet, indev)
        return self._to_client(connection, packet, now)

    def _to_server(self, connection: Connection, packet: Packet, indev: int) -> bytes | Verdict:
        """Send an error about a reply the way that the client's packets go."""
        path = connection.path
        path.count_in(packet.end)
        if path.exit is Exit.HOST:
            return self._forwarding.deliver(packet)
        if packet.ttl <= 1:
            return self._tally.drop(Reason.TTL_EXPIRED)
        if path.exit is Exit.VERDICT:
            ends = path.ends
            return icmp.rewrite_error(
                packet,
                self._inner,
                outer_destination=ends.rip,
                inner_source=(ends.rip, ends.rport),
            )
        if connection.translation is not None:
            data = connection.translation.reply_error(packet, self._inner)
            self._outbox.departures.append(Departure(data, None, packet.data, indev))
            return Verdict.TAKEN
        return self._forwarding.depart(connection, path, packet, indev)

    def _to_client(self, connection: Connection, packet: Packet, now: float) -> bytes | Verdict:
        """Send an error about a request to the client, as one about what the client sent."""
        path = connection.path
        path.count_out(packet.end)
        if icmp.is_port_unreachable(packet):
            path.server.refusals.note(connection.ends[0][1], now)
        if connection.translation is not None:
            if packet.ttl <= 1:
                return self._tally.drop(Reason.TTL_EXPIRED)
            if packet.version == 6 and (mtu := icmp.next_hop_mtu(packet)):
                # The client will not go below 1280, so that TOA must go where that is all there is.
                path.server.mtu = min(path.server.mtu, max(mtu, MIN_MTU[6]))
            data = connection.translation.request_error(packet, self._inner)
            self._outbox.departures.append(Departure(data))
            return Verdict.TAKEN
        ends, network = path.ends, self._network
        # An error from the VIP to the host that has it would be a martian.
        is_ours = network.local_addresses is not None and network.has(packet.destination)
        return icmp.rewrite_error(
            packet,
            self._inner,
            outer_source=None if is_ours else ends.vip,
            inner_destination=(ends.vip, ends.vport),
        )

    def _about_tunnel(self, packet: Packet, outer: Packet, mark: int, now: float) -> Verdict:
        """Tell the client of an error about the tunnel that its packet was in.

        ``outer`` is the tunnel's packet as it was quoted. Where too little was quoted to find the
        client's packet in it, there is nobody to tell.
        """
        wrapped = self._wrapped
        inside = unwrap(outer.data, self._network.tunnel_ports)
        if inside is None or wrapped.load(inside, quoted=True) is not None:
            return self._strays.leave(packet, mark, now)
        connection = self._find(wrapped.key)
        if (
            connection is None
            or connection.path.exit is not Exit.TUNNEL
            or connection.path.server.address != outer.destination
        ):
            return self._strays.leave(packet, mark, now)
        path = connection.path
        path.count_out(packet.end)
        mtu = icmp.next_hop_mtu(packet)
        if mtu is None:
            kind = _KINDS.get((packet.version, packet.icmp_type), Kind.OTHER)
            self._outbox.answer(wrapped, kind, now, partial(icmp.relayed, packet))
        else:
            path.server.mtu = min(path.server.mtu, max(mtu, MIN_MTU[packet.version]))
            if not wrapped.dont_fragment:
                return Verdict.TAKEN
            room = max(path.server.mtu - path.overhead, LEAST_MTU[wrapped.version])
            self._outbox.tell_too_big(wrapped, room)
        return Verdict.TAKEN

    # --- AH and ESP -------------------------------------------------------------------------

    def _follow_key_exchange(
        self, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Send a packet of IPsec the way of the connection between the same hosts' port 500."""
        port = ISAKMP_PORT
        exchange = make_key(UDP, packet.source, port, packet.destination, port)
        connection = self._find(exchange)
        if connection is None or connection.path.exit is Exit.TRANSLATED:
            return self._strays.leave(packet, mark, now)
        server = connection.path.server
        if not server.available or (server.is_gone and connection.key == exchange):
            return self._tally.drop(Reason.SERVER_GONE)
        connection.expires = now + connection.path.timeouts[connection.state]
        try:
            path = self._ipsec_path(connection, packet)
        except BaseException as error:  # noqa: BLE001 - a forwarder's; it costs this packet
            server.service.fault = error
            return self._tally.drop(Reason.PLUGIN_FAULT)
        if connection.key == exchange:
            path.count_in(packet.end)
            return self._forwarding.go(connection, path, packet, indev, now)
        path.count_out(packet.end)
        return self._tally.let_pass() if path.reply is None else path.reply(packet)

    def _ipsec_path(self, connection: Connection, packet: Packet) -> Path:
        """Return the way of a key exchange's connection, for a packet of AH or ESP."""
        followed = connection.path
        protocol = self._ipsec[packet.protocol]
        path = path_to(followed.server, protocol, (followed.ends.vip, 0), 0, followed.key[-1])
        leave(path)
        return path
