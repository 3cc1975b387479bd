"""The director: a packet and the time go in, a verdict comes out.

The way of a packet is the kernel's (ip_vs_in_hook, ip_vs_out_hook): look its key up; a hit is
counted, moves the connection's state and is rewritten; a miss may open a connection of a virtual
service. There is no socket and no clock here: `Director.handle` gets ``now``, and what there is
to send waits in the `Outbox`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core import own_clients, states
from lvsd.core.drains import is_reused
from lvsd.core.path import Exit
from lvsd.core.service import FTP_PORT
from lvsd.core.service_table import FTP_DATA_PORT
from lvsd.core.symptoms import note_repeated, note_reset
from lvsd.core.verdict import Hook, Reason, Verdict
from lvsd.packet.view import SCTP, TCP, UDP, Packet, split_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from lvsd.core.connection import Connection
    from lvsd.core.flows import Flows
    from lvsd.core.forwarding import Forwarding
    from lvsd.core.network import Network
    from lvsd.core.related import Related
    from lvsd.core.service import Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.settings import Settings
    from lvsd.core.strays import Strays
    from lvsd.core.tally import Tally

SCTP_HEADER_BYTES: Final = 12

_SILENT: Final = frozenset({Reason.PLUGIN_FAULT, Reason.SERVICE_FULL, Reason.TABLE_FULL})
"""Reasons that clients are told nothing of: their next try may go well."""

_VERDICT = Exit.VERDICT


class Director:
    """Decides what becomes of each packet.

    All that it decides by is handed in, and others have it as well: the ``services``, the
    ``flows``, what is known of the ``network``; ``forwarding`` sends what belongs to a
    connection, ``related`` and ``strays`` have what does not by its key, or does not at all.
    """

    def __init__(
        self,
        services: ServiceTable,
        flows: Flows,
        settings: Settings,
        network: Network,
        forwarding: Forwarding,
        related: Related,
        strays: Strays,
        tally: Tally,
    ) -> None:
        self._services = services
        self._flows = flows
        self._settings = settings
        self._network = network
        self._forwarding = forwarding
        self._related = related
        self._strays = strays
        self._tally = tally
        self._protocols = flows.timeouts.protocols
        self._by_key = flows.table.by_key
        self._table = flows.table
        self._packet = Packet()

    def handle(self, data: bytes, hook: int, mark: int, indev: int, now: float) -> bytes | Verdict:
        """Decide about one IP packet; return its new bytes, or a verdict on it as it is.

        ``hook`` is where it was diverted (`Hook`), ``mark`` its firewall mark, ``indev`` the
        index of the interface it came in by. Nothing that a packet holds raises anything.
        """
        packet = self._packet
        if packet.load(data) is not None:
            return self._tally.drop(Reason.MALFORMED)
        connection = self._by_key.get(packet.key)
        if connection is None:
            return self._miss(packet, hook, mark, indev, now)
        if connection.key == packet.key:
            if (
                packet.flags & states.SYN
                or packet.protocol == SCTP
                or not (connection.path.server.is_serving)
            ):
                return self._reconsider(connection, packet, mark, indev, now)
            return self._forward(connection, packet, indev, now)
        return self._reply(connection, packet, indev, now)

    # --- packets of a connection --------------------------------------------------------------

    def _reconsider(
        self, connection: Connection, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a client's packet that may put an end to the connection it belongs to.

        That is one which opens a connection, or one to a server that was removed or is not well.
        """
        if not (_opens(packet) and self._is_stale(connection)):
            server = connection.path.server
            if server.is_serving or not (server.is_gone or packet.protocol == UDP):
                note_repeated(connection, packet)
                return self._forward(connection, packet, indev, now)
            if not server.is_gone:
                return self._move_on(connection, packet, mark, indev, now)
            leaves = server.available and packet.protocol == UDP
            if not (leaves or self._settings.expire_nodest_conn):
                return self._tally.drop(Reason.SERVER_GONE)
        if connection.local is not None:
            self._flows.end(connection)  # its local port is needed
            return self._miss(packet, Hook.PREROUTING, mark, indev, now)
        self._flows.unlink(connection)
        self._forwarding.replaced = connection
        try:
            return self._miss(packet, Hook.PREROUTING, mark, indev, now)
        finally:
            self._forwarding.replaced = None
            self._flows.end(connection)

    def _move_on(
        self, connection: Connection, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a datagram to a quiesced server: another one gets it, if there is one for it."""
        key = packet.key
        (source, source_port), (destination, destination_port) = split_key(key)
        service = self._services.lookup(UDP, destination, destination_port, mark)
        if service is None or packet.fragment:
            return self._forward(connection, packet, indev, now)
        flow = Flow(source, source_port, destination, destination_port)
        return self._open(service, flow, packet, indev, now, instead_of=connection)

    def _forward(
        self, connection: Connection, packet: Packet, indev: int, now: float
    ) -> bytes | Verdict:
        """Count a client's packet, move the state, rewrite it."""
        path = connection.path
        size = packet.end
        stats = path.server_stats
        stats.in_packets += 1
        stats.in_bytes += size
        stats = path.service_stats
        stats.in_packets += 1
        stats.in_bytes += size
        event = packet.flags if packet.protocol != SCTP else packet.chunk & 0xFF
        state = path.request_states[event << 4 | connection.state]
        if state != connection.state:
            self._flows.move(connection, state)
        expires = connection.expires = now + path.timeouts[state]
        if expires < connection.due - 1:
            self._table.hasten(connection)
        if path.exit is _VERDICT and size <= path.server.mtu and packet.ttl > 1:
            return path.request(packet)  # as `go` would, a call sooner (bench/core.py)
        return self._forwarding.go(connection, path, packet, indev, now)

    def _reply(
        self, connection: Connection, packet: Packet, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a packet from the real server: count it, move the state, rewrite it."""
        path = connection.path
        size = packet.end
        stats = path.server_stats
        stats.out_packets += 1
        stats.out_bytes += size
        stats = path.service_stats
        stats.out_packets += 1
        stats.out_bytes += size
        event = packet.flags if packet.protocol != SCTP else packet.chunk & 0xFF
        state = path.reply_states[event << 4 | connection.state]
        if state != connection.state:
            if connection.state == states.TCP_SYN_RECV and self._forwarding.refuse_old(
                connection, packet
            ):
                return Verdict.TAKEN
            note_reset(connection, state, now)
            self._flows.move(connection, state)
        expires = connection.expires = now + path.timeouts[state]
        if expires < connection.due - 1:
            self._table.hasten(connection)
        if connection.template is not None and packet.protocol == UDP:
            connection.template.assured = True
        if path.reply is not None:
            return path.reply(packet)
        verdict = self._forwarding.reply(connection, packet, indev, now)
        if packet.flags & states.SYN and self._flows.observers.present:
            self._flows.observers.learned(connection)
        return verdict

    def _is_stale(self, connection: Connection) -> bool:
        """Whether a packet that opens a connection is to be scheduled anew (ip_vs_in_hook)."""
        settings = self._settings
        server = connection.path.server
        if settings.expire_nodest_conn and server.weight == 0:
            return True
        if server.leaving and is_reused(connection):
            return True
        mode = settings.conn_reuse_mode
        if not mode:
            return False
        if connection.template is not None and connection.translation is None:
            return False  # a translation tells the client's address only once
        state = connection.state
        if connection.protocol == TCP:
            return state in {states.TCP_TIME_WAIT, states.TCP_CLOSE} or (
                bool(mode & 2) and state == states.TCP_FIN_WAIT and connection.path.key[-1].bypasses
            )
        return connection.protocol == SCTP and state == states.SCTP_CLOSED

    # --- packets of none ------------------------------------------------------------------------

    def _miss(
        self, packet: Packet, hook: int, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a packet of no known connection, or of one that is still to be taken in."""
        if self._table.pending is not None and self._table.find(packet.key) is not None:
            return self.handle(packet.data, hook, mark, indev, now)
        protocol = packet.protocol
        if protocol not in self._protocols:
            # On replies, and on requests that were rewritten, a mark says nothing more.
            known_mark = mark if hook == Hook.PREROUTING else 0
            return self._related.handle(packet, known_mark, indev, now)
        if hook not in {Hook.PREROUTING, Hook.OUTPUT}:
            return self._strays.reply(packet, hook, now)
        if packet.fragment:
            return self._tally.drop(Reason.FRAGMENT)
        (source, source_port), (destination, destination_port) = split_key(packet.key)
        flow = Flow(source, source_port, destination, destination_port)
        service = self._services.lookup(protocol, destination, destination_port, mark)
        if hook == Hook.OUTPUT and (
            service is None
            or not own_clients.takes(
                self._services, service, flow, protocol, self._network.local_addresses
            )
        ):
            return self._strays.reply(packet, hook, now)
        if service is None or source_port == FTP_DATA_PORT or not self._may_open(packet):
            return self._strays.leave(packet, mark, now)
        return self._open(service, flow, packet, indev, now)

    def _may_open(self, packet: Packet) -> bool:
        """Whether a packet is one that opens a connection (the kernel's conn_schedule)."""
        protocol = packet.protocol
        if protocol == TCP:
            sloppy = self._settings.sloppy_tcp
            return not packet.flags & states.RST and (sloppy or _opens(packet))
        if protocol == SCTP:
            sloppy = self._settings.sloppy_sctp
            return packet.chunk != -1 and (_opens(packet) or (sloppy and not _aborts(packet)))
        return True

    def _open(
        self,
        service: Service,
        flow: Flow,
        packet: Packet,
        indev: int,
        now: float,
        instead_of: Connection | None = None,
    ) -> bytes | Verdict:
        """Open a connection to a real server of the service, and forward its first packet.

        The one that it is opened ``instead_of`` goes on where there can be no other.
        """
        flows, key = self._flows, service.key
        connection: Connection | Reason = Reason.NO_SERVER
        if key.fwmark or service.config.persistence_s or flow.destination_port == key.vport:
            connection = flows.reserve(
                service, flow, packet.protocol, self._network.local_addresses, now
            )
        if instead_of is not None and instead_of.due:  # it was not ended to make room
            if isinstance(connection, Reason):
                return self._forward(instead_of, packet, indev, now)
            flows.end(instead_of)
        if isinstance(connection, Reason):
            return self._leave(service, packet, connection, now)
        event = packet.flags if packet.protocol != SCTP else packet.chunk & 0xFF
        failed = flows.bind(connection, packet.key, flow, event, now)
        if failed is not None:
            return self._leave(service, packet, failed, now)
        path = connection.path
        path.count_in(packet.end)
        keep = False
        try:
            verdict = self._forwarding.go(connection, path, packet, indev, now)
            keep = connection.due > 0
        finally:
            if not keep:
                flows.end(connection)
        if connection.translation is not None and flows.observers.present and keep:
            flows.observers.learned(connection)
        return verdict

    def _leave(self, service: Service, packet: Packet, reason: Reason, now: float) -> Verdict:
        """Refuse a packet that no real server can take (ip_vs_leave)."""
        if reason in _SILENT or service.is_in_doubt:  # its servers are still to come
            return self._tally.drop(reason)
        if (
            reason is Reason.NO_SERVER
            and service.key.vport == FTP_PORT
            and packet.destination_port != FTP_PORT
        ):
            return self._tally.let_pass()  # an FTP service is no catch-all of its VIP
        return self._forwarding.unreachable(packet, reason, now)


def _opens(packet: Packet) -> bool:
    """Whether this is a packet that begins a connection (is_new_conn)."""
    return bool(packet.flags & states.SYN) or packet.chunk == states.SCTP_INIT


def _aborts(packet: Packet) -> bool:
    """Whether an SCTP packet, which has a chunk, begins with an ABORT (sctp_conn_schedule)."""
    return packet.data[packet.l4 + SCTP_HEADER_BYTES] == states.SCTP_ABORT
