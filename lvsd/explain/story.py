"""One connection from its first packet to its last, through the director that lvsd runs.

The client, the real server and the routers between are on paper (`stack`, `network`); a packet goes
from place to place (`places`), and at the director through the real one (`passage`).
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService
from lvsd.core.local_pool import LocalPool
from lvsd.core.sequence_numbers import Origin
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey, Way
from lvsd.core.verdict import Hook
from lvsd.explain import paper
from lvsd.explain.model import Explanation, Hop, Journey
from lvsd.explain.outcome import PAST, entry_of
from lvsd.explain.paper import PaperNetwork
from lvsd.explain.passage import passage
from lvsd.explain.picks import fallen_on, weigh
from lvsd.explain.places import PASSES_ON, RECEIVES, SENDS, SERVER, UNWRAPS, places
from lvsd.explain.script import script
from lvsd.explain.stack import ACK, SYN, Peer
from lvsd.explain.trail import journey, loaded
from lvsd.packet.address import endpoint
from lvsd.packet.build import ip_packet, seal
from lvsd.packet.numbers import ICMP, ICMPV6, TCP, UDP
from lvsd.packet.rewrite import one_hop_on
from lvsd.packet.tunnel import unwrap
from lvsd.packet.view import key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.plan import Plan
    from lvsd.core.connection import Connection
    from lvsd.core.outbox import Answer
    from lvsd.core.service import Service
    from lvsd.explain.case import Case
    from lvsd.explain.places import Place
    from lvsd.explain.script import Line
    from schedulers.base import Server

PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}

ROUND_TRIP_S: Final = 0.01
SECRET: Final = b"the same at every time"

NETWORK_CONTROL: Final = 0xC0
"""The precedence of an ICMP error over IPv4 (RFC 1812, section 4.3.2.5)."""

CLIENT_SEQUENCE, SERVER_SEQUENCE = 1_000, 5_000_000
CLIENT_CLOCK, SERVER_CLOCK = 100_000, 900_000


def explain_case(case: Case) -> Explanation:
    """Follow the case's connection, and return what was seen."""
    return _Story(case).tell()


class _Story:
    """The connection as it goes on: the director, both peers, and the journeys so far."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.protocol = PROTOCOLS[case.protocol]
        self.network = PaperNetwork(case)
        self.now = 0.0
        self.balancer = Balancer(lambda *_: case.scheduler, origin=Origin(SECRET))
        self.service = self._service()
        self.client = Peer(
            self.protocol, CLIENT_SEQUENCE, CLIENT_CLOCK, near=case.client, far=case.virtual
        )
        self.server = Peer(self.protocol, SERVER_SEQUENCE, SERVER_CLOCK)
        self.plan: Plan | None = None
        self.real = ""
        self._picked: Server | None = None
        self.journeys: list[Journey] = []

    def _service(self) -> Service:
        case, balancer = self.case, self.balancer
        wanted = ServiceConfig(
            ServiceKey(self.protocol, *case.virtual, family=case.version),
            case.scheduler.name,
            case.scheduler.flags,
            name="explained",
            mss_clamp=case.mss_clamp,
            local=LocalPool((case.local,)),
        )
        servers = (
            ServerConfig(each.address, each.port, case.forwarder, each.weight)
            for each in case.servers
        )
        commands = (AddServer(wanted.key, each) for each in servers)
        balancer.apply([AddService(wanted), *commands], self.now)
        balancer.network.link_mtus = {
            paper.FRONT_INDEX: paper.MTU,
            paper.BACK_INDEX: paper.MTU,
        }
        balancer.network.tunnel_ports = frozenset(port for port in self.network.gue_ports if port)
        service = balancer.services.get(wanted.key)
        for server in service.servers:
            server.set_way(Way(paper.MTU, self.network.source))
        return service

    # --- what happens -----------------------------------------------------------------------

    def tell(self) -> Explanation:
        """Let the connection happen, and return it."""
        for number in range(self.case.earlier):
            self._earlier(number)
        flow = Flow(*self.case.client, *self.case.virtual)
        made = weigh(self.service, flow, self.now, self._name)
        virtual = endpoint(*self.case.virtual)
        for line in script(self.protocol, virtual, lambda: self.real):
            self._say(line)
            self.now += ROUND_TRIP_S
            if not self.plan:
                break
        case = self.case
        return Explanation(
            case.mode,
            case.protocol,
            virtual,
            self.network.hosts,
            fallen_on(made, self._name(self._picked)) if self._picked else made,
            self.plan,
            tuple(self.journeys),
        )

    def _earlier(self, number: int) -> None:
        """Open a connection of another client, for the scheduler to see."""
        address = _after(self.case.client[0], number + 1)
        port = 1024 + (self.case.client[1] - 1024 + number) % 64000
        other = Peer(self.protocol, CLIENT_SEQUENCE, CLIENT_CLOCK)
        other.near, other.far = (address, port), self.case.virtual
        for flags in (SYN, ACK) if self.protocol == TCP else (0,):
            packet = other.send(flags)
            self.balancer.handle(packet, Hook.PREROUTING, 0, paper.FRONT_INDEX, self.now)
        self.balancer.outbox.departures.clear()
        self.balancer.outbox.answers.clear()

    def _name(self, server: Server) -> str:
        name = self.case.name_of(server.address, server.port)
        return f"{name} {endpoint(server.address, server.port)}"

    # --- packets ----------------------------------------------------------------------------

    def _say(self, line: Line) -> None:
        """Let a peer send its next packet, and follow that to the other one."""
        is_request = line.direction == "request"
        peers = (self.client, self.server) if is_request else (self.server, self.client)
        sender, receiver = peers
        passed = list(places(self.case.mode, line.direction))
        departure = next(
            (at for at, place in enumerate(passed) if place[::2] == ("director", SENDS)), 0
        )
        before = self._connection()
        hops, packet = self._along(
            passed[:departure] or passed, sender.send(line.flags, line.payload)
        )
        if not departure:
            receiver.receive(packet)
            self._note(line.title, line, hops, PAST, before)
            return
        hook = Hook.PREROUTING if is_request or self.network.routed else Hook.FORWARD
        index = paper.FRONT_INDEX if is_request else paper.BACK_INDEX
        done = passage(self.balancer, loaded(packet), hook, index, self.now)
        connection = self._connection() or before
        if not done.leaving:
            self._note(line.title, line, hops, done.outcome)
            self._answers()
            return
        if connection is not None and self.plan is None:
            self._opened(connection)
        for leaving in done.leaving:
            onwards, packet = self._along(passed[departure:], leaving.data)
            receiver.receive(packet)
            ahead = "" if leaving is done.leaving[-1] else "the client's address, ahead of "
            self._note(f"{ahead}{line.title}", line, hops + onwards, done.outcome, connection)

    def _along(self, places: Sequence[Place], packet: bytes) -> tuple[list[Hop], bytes]:
        """Follow a packet through places, the first of which sends it; return how it ends."""
        hops: list[Hop] = []
        for place, following in zip_longest(places, places[1:]):
            if place.title == PASSES_ON:
                packet = one_hop_on(loaded(packet))
            if place.title == RECEIVES:
                frame = hops[-1].frame
            elif place.title == UNWRAPS:
                packet = unwrap(packet, self.network.gue_ports) or packet
                frame = self.network.inside(hops[-1].frame, packet)
            else:
                frame = self.network.frame(packet, self._end(place), self._entrance(following))
            hops.append(Hop(*self._end(place), place.title, frame))
        return hops, packet

    def _end(self, place: Place) -> tuple[str, str]:
        """Return a place's host and interface."""
        if place.host == SERVER:
            return self.real, "eth0"
        return place.host, place.interface

    def _entrance(self, place: Place) -> tuple[str, str]:
        host, interface = self._end(place)
        return host, place.entrance or interface

    def _answers(self) -> None:
        """Note the ICMP errors that the director sends to the client."""
        for answer in self.balancer.outbox.answers:
            packet = _as_packet(answer, self.network.front)
            frame = self.network.frame(packet, ("director", "front"), ("client", "eth0"))
            hops = (Hop("director", "front", SENDS, frame), Hop("client", "eth0", RECEIVES, frame))
            outcome = "The director tells the client; its kernel puts the IP header in front."
            self.journeys.append(Journey("ICMP error", "reply", hops, outcome))

    # --- what is noted ----------------------------------------------------------------------

    def _connection(self) -> Connection | None:
        found = key(self.protocol, *self.case.client, *self.case.virtual)
        return self.balancer.flows.table.by_key.get(found)

    def _opened(self, connection: Connection) -> None:
        server = connection.path.server
        self.plan = connection.plan
        self.real = self.case.name_of(server.address, server.port)
        self._picked = server

    def _note(
        self,
        title: str,
        line: Line,
        hops: Sequence[Hop],
        outcome: str,
        connection: Connection | None = None,
    ) -> None:
        entry = entry_of(connection, self.now) if connection else None
        told = journey(title, line.direction, hops, outcome, self.plan, entry)
        self.journeys.append(told)


def _as_packet(answer: Answer, source: bytes) -> bytes:
    """Return an ICMP error as the director's kernel sends it, from its packed address."""
    target = answer.destination
    if len(source) == 16:
        return ip_packet(source, target, ICMPV6, seal(answer.message, ICMPV6, source, target))
    return ip_packet(
        source, target, ICMP, answer.message, dsfield=NETWORK_CONTROL, dont_fragment=False
    )


def _after(address: bytes, number: int) -> bytes:
    """Return the address that comes so many behind another one."""
    whole = int.from_bytes(address, "big") + number
    return (whole % (1 << 8 * len(address))).to_bytes(len(address), "big")
