"""The director: a packet and the time go in, a verdict comes out.

The way of a packet is the kernel's (ip_vs_in_hook, ip_vs_out_hook): look its key up; a hit is
counted, moves the connection's state and is rewritten; a miss may open a connection of a virtual
service. There is no socket and no clock here: `Director.handle` gets ``now``, and what the
director has to say to somebody (ICMP errors) waits in `Director.answers`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lvsd.core import own_clients, states
from lvsd.core.admission import Admission
from lvsd.core.connecting import Connector
from lvsd.core.connection import ConnectionTable, Template, TranslatedConnection
from lvsd.core.ending import Endings
from lvsd.core.evidence import note_repeated, note_reset
from lvsd.core.icmp_limits import Kind
from lvsd.core.listing import Row, rows
from lvsd.core.outbox import Outbox
from lvsd.core.path import Exit
from lvsd.core.persistence import choose
from lvsd.core.related import Related
from lvsd.core.sequence_numbers import NEW
from lvsd.core.service import FTP_PORT
from lvsd.core.service_table import FTP_DATA_PORT, ServiceTable
from lvsd.core.settings import Settings
from lvsd.core.strays import Strays
from lvsd.core.timeouts import Timeouts
from lvsd.core.verdict import Departure, Hook, Reason, Verdict
from lvsd.packet import icmp
from lvsd.packet.exchanged_error import MIN_MTU
from lvsd.packet.rewrite import one_hop_on
from lvsd.packet.view import SCTP, TCP, UDP, Packet, split_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.connection import Connection
    from lvsd.core.path import Path
    from lvsd.core.sequence_numbers import Origin
    from lvsd.core.service import Service, ServiceKey

TOLD_AT_ONCE = 4096
"""Flows that are remembered as told that their datagrams are too big; then it begins anew."""

SCTP_HEADER_BYTES = 12
IP_HEADER_BYTES = {4: 20, 6: 40}

_VERDICT, _HOST = Exit.VERDICT, Exit.HOST


class Director:
    """The core of lvsd: services, connections, and what happens to each packet.

    ``now`` is in seconds, on any clock that does not go back. ``origin`` is where FULLNAT's numbers
    and ports begin. ``answers`` and ``departures`` are to be emptied by whoever can send,
    after each packet or some. ``link_mtus`` maps an interface index to its MTU in bytes,
    ``tunnel_ports`` are the UDP ports that GUE tunnels of ours go to.
    ``local_addresses`` are the host's own, packed; None: every VIP is taken for one of them.
    """

    def __init__(
        self, settings: Settings | None = None, *, now: float = 0.0, origin: Origin = NEW
    ) -> None:
        self.settings = settings or Settings()
        self.now = now
        self.services = ServiceTable()
        self.table = ConnectionTable(now)
        self.outbox = Outbox()
        self.departures = self.outbox.departures
        self.answers = self.outbox.answers
        self.link_mtus: dict[int, int] = {}
        self.local_addresses: frozenset[bytes] | None = None
        self.drops: Counter[Reason] = Counter()
        self.passed = 0
        self._timeouts = Timeouts()
        self.protocols = self._timeouts.protocols
        self.tunnel_ports: frozenset[int] = frozenset()
        self._by_key = self.table.by_key
        self.endings = Endings(
            self.table, self.services, self.settings, self.departures, self._end, now
        )
        self._connector = Connector(self._by_key, self._timeouts, origin, self.endings.make_room)
        self.local_ports = self._connector.local_ports
        self.client_address = self._connector.client_address
        self.strays = Strays(self)
        self._related = Related(self)
        self._packet = Packet()
        self._told: set[bytes] = set()
        self._replaced: Connection | None = None
        self.admission = Admission(
            self.table, self.services, self.settings, self._make_room, self.endings.forget
        )

    # --- packets ----------------------------------------------------------------------------

    def handle(self, data: bytes, hook: int, mark: int, indev: int, now: float) -> bytes | Verdict:
        """Decide about one IP packet; return its new bytes, or a verdict on it as it is.

        ``hook`` is where it was diverted (`Hook`), ``mark`` its firewall mark, ``indev`` the
        index of the interface it came in by. Nothing that a packet holds raises anything.
        """
        packet = self._packet
        if packet.load(data) is not None:
            return self.drop(Reason.MALFORMED)
        connection = self._by_key.get(packet.key)
        if connection is None:
            return self._miss(packet, hook, mark, indev, now)
        if connection.key == packet.key:
            if (
                packet.flags & states.SYN
                or packet.protocol == SCTP
                or not (connection.path.server.available)
            ):
                return self._reconsider(connection, packet, mark, indev, now)
            return self._forward(connection, packet, indev, now)
        return self._reply(connection, packet, indev, now)

    def _reconsider(
        self, connection: Connection, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a client's packet that may put an end to the connection it belongs to.

        That is one which opens a connection, or one to a server that was removed.
        """
        if not (_opens(packet) and self._is_stale(connection)):
            if connection.path.server.available:
                note_repeated(connection, packet)
                return self._forward(connection, packet, indev, now)
            if not self.settings.expire_nodest_conn:
                return self.drop(Reason.SERVER_GONE)
        if isinstance(connection, TranslatedConnection):
            self._end(connection)  # its local port is needed
            return self._miss(packet, Hook.PREROUTING, mark, indev, now)
        self.table.remove(connection)
        # Until the next one is scheduled its server has it, as the scheduler is to see: the kernel
        # ends it with the next tick of the clock (ip_vs_conn_expire_now).
        self._replaced = connection
        try:
            return self._miss(packet, Hook.PREROUTING, mark, indev, now)
        finally:
            self._replaced = None
            self._connector.release(connection)

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
            self._enter(connection, state)
        expires = connection.expires = now + path.timeouts[state]
        if expires < connection.due - 1:
            self.table.hasten(connection)
        if path.exit is _VERDICT and size <= path.server.mtu and packet.ttl > 1:
            return path.request(packet)  # as `go` would, a call sooner (bench/core.py)
        return self.go(connection, path, packet, indev, now)

    def go(
        self, connection: Connection, path: Path, packet: Packet, indev: int, now: float
    ) -> bytes | Verdict:
        """Send a request on by ``path``, unless it has come to its end or is too long for it."""
        exit_ = path.exit
        if exit_ is _HOST:
            return self.deliver(packet)
        if packet.ttl <= 1:
            return self._end_of_ttl(packet, now)
        mtu = path.server.mtu - path.overhead
        if packet.end > mtu and self._is_too_big(packet, mtu, indev):
            return self._refuse_long(packet, mtu)
        if exit_ is _VERDICT:
            if packet.version == 6 and mtu < packet.end <= self.link_mtus.get(indev, 0):
                return self._cut(path, packet, indev)
            return path.request(packet)
        return self.depart(connection, path, packet, indev)

    def _cut(self, path: Path, packet: Packet, indev: int) -> Verdict:
        """Send an IPv6 packet that NAT rewrites in pieces, by a socket.

        The kernel cuts only what it has put together itself. Of others it tells the sender, quoting
        the packet as it is rewritten, which the sender does not know.
        """
        rewritten = Packet()
        rewritten.load(path.request(packet))
        if self.outbox.send(one_hop_on(rewritten), path.server.mtu, packet.data, indev):
            return Verdict.TAKEN
        return self.drop(Reason.TOO_BIG)

    def depart(self, connection: Connection, path: Path, packet: Packet, indev: int) -> Verdict:
        """Send a packet to the real server by a socket."""
        if self.outbox.depart(connection, path, packet, indev):
            return Verdict.TAKEN
        return self.drop(Reason.TOO_BIG)

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
            if connection.state == states.TCP_SYN_RECV and self._refuses_old(connection, packet):
                return Verdict.TAKEN
            note_reset(connection, state, now)
            self._enter(connection, state)
        expires = connection.expires = now + path.timeouts[state]
        if expires < connection.due - 1:
            self.table.hasten(connection)
        if connection.template is not None and packet.protocol == UDP:
            connection.template.assured = True
        if path.reply is not None:
            return path.reply(packet)
        if not isinstance(connection, TranslatedConnection):
            return Verdict.PASS
        if packet.ttl <= 1:
            return self._end_of_ttl(packet, now)
        data = connection.translation.reply(packet)
        self.departures.append(Departure(data, None, packet.data, indev))
        return Verdict.TAKEN

    def _refuses_old(self, connection: Connection, packet: Packet) -> bool:
        """Make a server give up an older connection on the same ends; return whether it has one."""
        if not isinstance(connection, TranslatedConnection):
            return False
        refusal = connection.translation.refuse_old(packet)
        self.departures += map(Departure, refusal)
        return bool(refusal)

    # --- packets that leave otherwise than by the queue's verdict ----------------------------

    def too_long(self, departure: Departure, mtu: int) -> None:
        """Handle a packet that its way turned out too narrow for: cut it, or tell its sender.

        To be called by whoever sends; ``mtu`` is what the way takes, in bytes. What is to be sent
        instead is in ``departures`` and ``answers`` again.
        """
        original = self._packet
        if original.load(departure.original) is not None or mtu >= len(departure.data):
            self.drops[Reason.TOO_BIG] += 1
            return
        grown = max(0, len(departure.data) - original.end)
        data, neighbour, original_data, indev = departure
        if self._is_too_big(original, mtu - grown, indev):
            self._refuse_long(original, mtu - grown)
        elif not self.outbox.send(data, mtu, original_data, indev, neighbour):
            self.drop(Reason.TOO_BIG)

    def deliver(self, packet: Packet) -> Verdict:
        """Let the host have a packet, if the VIP is its own: it would be routed otherwise."""
        if self.local_addresses is None or packet.destination in self.local_addresses:
            return Verdict.PASS
        return self.drop(Reason.NOT_LOCAL)

    # --- states -------------------------------------------------------------------------------

    def _enter(self, connection: Connection, state: int) -> None:
        """Move a connection to another state, and its server's counts; `hasten` has to follow."""
        path = connection.path
        protocol = path.protocol
        if protocol.opening[state] != protocol.opening[connection.state]:
            self.table.lift(connection)
        connection.state = state
        active = bool(protocol.active[state])
        if active != connection.active:
            connection.active = active
            server = path.server
            if active:
                server.activate()
            else:
                server.deactivate()
            server.service.changed(server)
        if state == protocol.established:
            if protocol.number == TCP:
                path.server.unanswered = 0  # the client has an answer to its SYN
                path.server.refusals.count = 0
            if connection.template is not None:
                connection.template.assured = True

    def _is_stale(self, connection: Connection) -> bool:
        """Whether a packet that opens a connection is to be scheduled anew (ip_vs_in_hook)."""
        settings = self.settings
        server = connection.path.server
        if settings.expire_nodest_conn and server.weight == 0:
            return True
        mode = settings.conn_reuse_mode
        if not mode:
            return False
        if connection.template is not None and not isinstance(connection, TranslatedConnection):
            return False  # FULLNAT's is: its translation tells the client's address only once
        state = connection.state
        if connection.protocol == TCP:
            return state in {states.TCP_TIME_WAIT, states.TCP_CLOSE} or (
                bool(mode & 2) and state == states.TCP_FIN_WAIT and connection.path.key[-1].bypasses
            )
        return connection.protocol == SCTP and state == states.SCTP_CLOSED

    def _is_too_big(self, packet: Packet, mtu: int, indev: int) -> bool:
        """Whether a packet that exceeds ``mtu`` must be refused rather than fragmented.

        IPv4 without DF may be fragmented further on. A packet larger than the link it came by
        was put together from fragments, which the kernel makes anew from it on the way out. A
        smaller one does not show it, and an IPv6 sender that knows our MTU still sends fragments
        of it: so a flow's datagrams are refused once, and cut from then on.

        One that every network takes is never too big: its sender would not send less (RFC 8200,
        section 5), so what a tunnel makes of it is cut (RFC 2473, section 7.1).
        """
        if packet.end > self.link_mtus.get(indev, packet.end):
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

    # --- new connections --------------------------------------------------------------------

    def _miss(
        self, packet: Packet, hook: int, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Handle a packet of no known connection."""
        protocol = packet.protocol
        if protocol not in self.protocols:
            # On replies, and on requests that were rewritten, a mark says nothing more.
            known_mark = mark if hook == Hook.PREROUTING else 0
            return self._related.handle(packet, known_mark, indev, now)
        if hook not in {Hook.PREROUTING, Hook.OUTPUT}:
            return self.strays.reply(packet, hook, now)
        if packet.fragment:
            return self.drop(Reason.FRAGMENT)
        (source, source_port), (destination, destination_port) = split_key(packet.key)
        service = self.services.lookup(protocol, destination, destination_port, mark)
        flow = Flow(source, source_port, destination, destination_port)
        if hook == Hook.OUTPUT and (
            service is None
            or not own_clients.takes(self.services, service, flow, protocol, self.local_addresses)
        ):
            return self.strays.reply(packet, hook, now)
        if service is None or source_port == FTP_DATA_PORT or not self._may_open(packet):
            return self.strays.leave(packet, mark, now)
        return self._open(service, flow, packet, mark, indev, now)

    def _may_open(self, packet: Packet) -> bool:
        """Whether a packet is one that opens a connection (the kernel's conn_schedule)."""
        protocol = packet.protocol
        if protocol == TCP:
            sloppy = self.settings.sloppy_tcp
            return not packet.flags & states.RST and (sloppy or _opens(packet))
        if protocol == SCTP:
            sloppy = self.settings.sloppy_sctp
            return packet.chunk != -1 and (_opens(packet) or (sloppy and not _aborts(packet)))
        return True

    def _open(
        self, service: Service, flow: Flow, packet: Packet, mark: int, indev: int, now: float
    ) -> bytes | Verdict:
        """Open a connection to a real server of the service, and forward its first packet."""
        key = service.key
        vport = flow.destination_port
        if not (key.fwmark or service.persistence_s or vport == key.vport):
            return self._leave(service, packet, Reason.NO_SERVER, now)
        no_room = self.admission.admit(service, 1 + bool(service.persistence_s))
        if no_room:
            return self.drop(no_room)
        template, server = (
            None,
            choose(service, flow, packet.protocol, self.table, self.settings, now),
        )
        if isinstance(server, Reason):
            return self._leave(service, packet, server, now)
        if isinstance(server, Template):
            template, server = server, server.server
        mapped = template is None or vport == key.vport
        rport = (server.port or vport) if mapped else vport
        connection = self._connector.connect(
            server, flow, packet.protocol, rport, packet.key, self.local_addresses, now
        )
        if isinstance(connection, Reason):
            return self._leave(service, packet, connection, now)
        connection.fwmark = mark
        if template is not None:
            connection.template = template
            template.controlled += 1
        keep = False
        try:
            verdict = self._forward(connection, packet, indev, now)
            if not connection.active:  # else the scheduler has been told
                server.service.changed(server)  # another one's, by a template that both found
            if not (service.one_packet and packet.protocol == UDP):
                self.table.add(connection)
                keep = True
        finally:
            if not keep:
                self._connector.release(connection)
        return verdict

    def _leave(self, service: Service, packet: Packet, reason: Reason, now: float) -> Verdict:
        """Refuse a packet that no real server can take (ip_vs_leave).

        A plug-in's fault is not the client's business: its next try may go well.
        """
        if reason is Reason.PLUGIN_FAULT:
            return self.drop(reason)
        if (
            reason is Reason.NO_SERVER
            and service.key.vport == FTP_PORT
            and packet.destination_port != FTP_PORT
        ):
            return self.let_pass()  # an FTP service is no catch-all of its VIP
        told = self.outbox.answer(packet, Kind.UNREACHABLE, now, icmp.port_unreachable)
        return self._refuse(packet, reason, told)

    # --- verdicts ---------------------------------------------------------------------------

    def drop(self, reason: Reason) -> Verdict:
        """Drop a packet, and count why."""
        self.drops[reason] += 1
        return Verdict.DROP

    def let_pass(self) -> Verdict:
        """Let a packet go on as it is, and count it."""
        self.passed += 1
        return Verdict.PASS

    def _refuse_long(self, packet: Packet, mtu: int) -> Verdict:
        """Drop a packet that is too long, and tell its sender what goes, at least what always does.

        Senders ignore less, as a forgery (RFC 8201, section 4).
        """
        told = max(mtu, MIN_MTU[packet.version])
        return self._refuse(packet, Reason.TOO_BIG, self.outbox.tell_too_big(packet, told))

    def _end_of_ttl(self, packet: Packet, now: float) -> Verdict:
        """Drop a packet whose TTL ends here, and tell its sender."""
        told = self.outbox.answer(packet, Kind.TIME_EXCEEDED, now, icmp.time_exceeded)
        return self._refuse(packet, Reason.TTL_EXPIRED, told)

    def _refuse(self, packet: Packet, reason: Reason, told: int) -> Verdict:
        """Drop a packet whose sender was told so by a message of so many bytes, 0: by none.

        To IPVS that is a packet from the VIP, the server's in DR and TUN (ip_vs_out_icmp).
        """
        if told:
            connection = self._by_key.get(packet.key) or self._replaced
            if connection is not None and connection.path.key[-1].bypasses:
                connection.path.count_out(IP_HEADER_BYTES[packet.version] + told)
        return self.drop(reason)

    # --- the operator's questions -----------------------------------------------------------

    def connections(self) -> Iterator[Row]:
        """Yield a row per connection and template; packets may be handled meanwhile."""
        return rows(self.table)

    def timeouts(self) -> tuple[int, int, int]:
        """Return the timeouts that ``--set`` changes, in seconds: TCP, TCP after a FIN, UDP."""
        return self._timeouts.get()

    def set_timeouts(self, tcp_s: int, tcp_fin_s: int, udp_s: int) -> None:
        """Change those timeouts, of each connection from its next packet on; 0 leaves one be."""
        servers = [server for service in self.services for server in service.servers]
        self._timeouts.set(tcp_s, tcp_fin_s, udp_s, [*servers, *self.services.departed()])

    def zero(self, key: ServiceKey | None = None) -> None:
        """Count from zero for one service and its servers, or for all of them.

        Raise ControlError if there is no such service.
        """
        for service in [self.services.get(key)] if key else list(self.services):
            service.meter.zero()
            for server in service.servers:
                server.meter.zero()

    def counters(self) -> dict[str, int]:
        """Return how many connections, templates and packets there are or were."""
        return {
            "connections": self.table.count,
            "templates": self.table.template_count,
            "passed": self.passed,
            "dropped": self.drops.total(),
        }

    def dropped(self) -> dict[str, int]:
        """Return the number of packets dropped, for every reason there is."""
        return {reason.value: self.drops[reason] for reason in Reason}

    # --- the end of connections -------------------------------------------------------------

    def tick(self, now: float) -> bool:
        """Do what is due by ``now``; to be called about once a second.

        Return True when there is more to do than can be at once: call again, after the packets
        that wait.
        """
        self.now = now
        return self.endings.tick(now)

    def _make_room(self, connection: Connection) -> None:
        """End a connection that is still opening, for another one."""
        if isinstance(connection, TranslatedConnection):
            self.endings.make_room(connection)
        else:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        """Forget a connection, and what is counted for it."""
        self.table.remove(connection)
        self._connector.release(connection)


def _opens(packet: Packet) -> bool:
    """Whether this is a packet that begins a connection (is_new_conn)."""
    return bool(packet.flags & states.SYN) or packet.chunk == states.SCTP_INIT


def _aborts(packet: Packet) -> bool:
    """Whether an SCTP packet, which has a chunk, begins with an ABORT (sctp_conn_schedule)."""
    return packet.data[packet.l4 + SCTP_HEADER_BYTES] == states.SCTP_ABORT
