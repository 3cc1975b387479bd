"""Packets of TCP, UDP and SCTP that belong to no connection and open none.

Where the host's own stack does not answer them lvsd does, as a host would: a RST or an ABORT
(`lvsd.packet.refusal`), so that whoever sent them learns at once that the connection is gone.

A real server's packet without a connection may belong to one that was lost, whose client must
not get it with the server's own address; or to a connection that has nothing to do with lvsd, of
the server's own or of a client that came to the server directly. What is asked, in this order:

1. It begins a connection (SYN, SYN-ACK, INIT, INIT-ACK): it passes, and the connection is
   remembered as a direct one. lvsd has an entry before a real server sees a client's SYN.
2. It belongs to a direct connection: it passes.
3. It is a refusal itself, or UDP: it passes. A datagram does not say who began.
4. It comes from a service's own endpoint: it is refused.
5. It comes from a server of which any port is served: it passes.

A persistent client has a template that tells whose it is: from 3 on, what goes to such a client
is refused, or, if it is UDP, dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.core import states
from lvsd.core.icmp_limits import Kind
from lvsd.core.persistence import template_key
from lvsd.core.replies import reply_endpoints, with_forwarders
from lvsd.core.verdict import Departure, Hook, Reason, Verdict
from lvsd.packet import icmp
from lvsd.packet.numbers import Chunk
from lvsd.packet.refusal import is_refusal, refusal
from lvsd.packet.view import SCTP, TCP, UDP, split_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forwarders.base import Forwarder
    from lvsd.core.connection_table import ConnectionTable
    from lvsd.core.network import Network
    from lvsd.core.outbox import Outbox
    from lvsd.core.replies import Endpoint
    from lvsd.core.service import RealServer, Service
    from lvsd.core.service_table import ServiceTable
    from lvsd.core.tally import Tally
    from lvsd.packet.view import Packet

DIRECT_KEPT: Final = 16_384
"""Direct connections that are remembered; beyond, the one that was silent longest is forgotten."""

REFUSALS_PER_S: Final = 1000.0
"""Refusals that are sent at most, as many as the kernel sends ICMP errors (icmp_msgs_per_sec)."""

REFUSALS_AT_ONCE: Final = 200.0


@dataclass(slots=True)
class RefusalCounts:
    """How many refusals were sent, and how many were not as there were too many."""

    sent: int = 0
    limited: int = 0


class Strays:
    """Handles such packets."""

    def __init__(
        self,
        services: ServiceTable,
        table: ConnectionTable,
        network: Network,
        outbox: Outbox,
        tally: Tally,
        now: float,
    ) -> None:
        self._services = services
        self._table = table
        self._network = network
        self._outbox = outbox
        self._tally = tally
        self._replying: dict[Endpoint, list[Service]] = {}
        self._since: dict[RealServer, None] = {}
        """Servers that were new since a look at all of them began, which may have passed them."""
        self._direct: dict[bytes, None] = {}
        self._tokens = REFUSALS_AT_ONCE
        self._filled = now
        self.refusals = RefusalCounts()

    def learn(self) -> None:
        """Look up what real servers' replies come from: to be called when services change."""
        for _ in self.learning():
            pass

    def learning(self) -> Iterator[None]:
        """Do so step by step; until the last step what was known before is."""
        found: dict[Endpoint, list[Service]] = {}
        since = self._since = {}
        for server, forwarder in with_forwarders(self._services):
            yield
            if server not in since:
                _note(found, server, forwarder)
        for server in since:
            if server.available:
                _note(found, server, server.effective_forwarder)
        self._replying = found

    def learn_also(self, server: RealServer) -> None:
        """Look it up for a server that is new."""
        _note(self._replying, server, server.effective_forwarder)
        self._since[server] = None

    # --- from clients -----------------------------------------------------------------------

    def leave(self, packet: Packet, mark: int, now: float) -> Verdict:
        """Leave a packet that belongs to nobody to the host, unless that would route it back.

        The host's own stack answers for a VIP that is an address of the host. To any other the
        packet would be routed: to a router that sends it here again, until its TTL ends. What
        bears a service's ``mark`` is as good as sent to a VIP.
        """
        destination, services = packet.destination, self._services
        if self._network.has(destination):
            return self._tally.let_pass()
        if destination in services.vips or services.has_mark(mark, packet.version):
            if packet.protocol == UDP:
                self._outbox.answer(packet, Kind.UNREACHABLE, now, icmp.port_unreachable)
            return self._refuse(packet, now)
        return self._tally.let_pass()

    # --- from real servers ------------------------------------------------------------------

    def reply(self, packet: Packet, hook: int, now: float) -> Verdict:
        """Let a real server's packet pass, or refuse it if its connection is lost."""
        direct, key = self._direct, packet.key
        if packet.fragment or hook == Hook.INPUT:  # the host knows its own connections
            return self._tally.let_pass()
        if key in direct or _begins(packet):
            direct.pop(key, None)
            if len(direct) >= DIRECT_KEPT:
                del direct[next(iter(direct))]
            direct[key] = None
            return self._tally.let_pass()
        if self._is_lost(packet):
            return self._refuse(packet, now)
        return self._tally.let_pass()

    def _is_lost(self, packet: Packet) -> bool:
        """Whether a packet that begins nothing belongs to a connection that there was."""
        (source, port), (client, _) = split_key(packet.key)
        protocol = packet.protocol
        exact = self._replying.get((source, protocol, port), [])
        if exact and protocol != UDP and not is_refusal(packet):
            return True
        of_any_port = self._replying.get((source, protocol, 0), [])
        return any(
            self._keeps(service, protocol, client, source) for service in (*exact, *of_any_port)
        )

    def _keeps(self, service: Service, protocol: int, client: bytes, server: bytes) -> bool:
        """Whether a persistent client is kept at a server."""
        if not service.was_persistent:
            return False
        vport = service.key.vport or 1  # any but 0: of any port
        key = template_key(service, Flow(client, 0, service.key.vip, vport), protocol)
        template = self._table.templates.get(key)
        return template is not None and template.server.address == server

    # --- both -------------------------------------------------------------------------------

    def _refuse(self, packet: Packet, now: float) -> Verdict:
        """Drop a packet, and send the answer that a host would give."""
        if packet.protocol in {TCP, SCTP} and icmp.may_answer(packet):
            gained = max(0.0, now - self._filled) * REFUSALS_PER_S
            self._filled = max(now, self._filled)
            self._tokens = min(REFUSALS_AT_ONCE, self._tokens + gained)
            if self._tokens < 1:
                self.refusals.limited += 1
            elif (answer := refusal(packet)) is not None:
                self._tokens -= 1
                self.refusals.sent += 1
                self._outbox.departures.append(Departure(answer))
        return self._tally.drop(Reason.NO_CONNECTION)


def _begins(packet: Packet) -> bool:
    """Whether a packet begins a connection, from either side."""
    if packet.protocol == TCP:
        return packet.flags & (states.SYN | states.RST) == states.SYN
    return packet.protocol == SCTP and packet.chunk in {Chunk.INIT, Chunk.INIT_ACK}


def _note(found: dict[Endpoint, list[Service]], server: RealServer, forwarder: Forwarder) -> None:
    if not (forwarder.bypasses or forwarder.per_connection):
        for endpoint in reply_endpoints(server):
            found.setdefault(endpoint, []).append(server.service)
