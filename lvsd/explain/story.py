"""One connection from its first packet to its last, through the director that lvsd runs.

The client, the real server and the routers between are on paper (`stack`, `network`); every packet
that reaches the director goes into `Director.handle`, and what comes out goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.core.balancer import Balancer
from lvsd.core.local_pool import LocalPool
from lvsd.core.path import Exit
from lvsd.core.sequence_numbers import Origin
from lvsd.core.service import RealServer, Service, ServiceKey
from lvsd.core.verdict import Hook, Verdict
from lvsd.explain import network
from lvsd.explain.answer import answer_packet
from lvsd.explain.conversation import conversation
from lvsd.explain.model import Explanation, Hop, Journey
from lvsd.explain.network import Network
from lvsd.explain.outcome import LEFT, PAST, Drops, entry_of, sent
from lvsd.explain.reason import fallen_on, weigh
from lvsd.explain.stack import ACK, SYN, Peer
from lvsd.explain.trail import loaded, trail
from lvsd.packet.address import endpoint
from lvsd.packet.numbers import TCP, UDP
from lvsd.packet.rewrite import one_hop_on
from lvsd.packet.tunnel import unwrap
from lvsd.packet.view import key
from schedulers.base import Flow

if TYPE_CHECKING:
    from forwarders.plan import Plan
    from lvsd.core.connection import Connection
    from lvsd.core.verdict import Departure
    from lvsd.explain.case import Case
    from lvsd.explain.conversation import Line
    from schedulers.base import Server

PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}

ROUND_TRIP_S: Final = 0.01
SECRET: Final = b"the same at every time"

CLIENT_SEQUENCE, SERVER_SEQUENCE = 1_000, 5_000_000
CLIENT_CLOCK, SERVER_CLOCK = 100_000, 900_000

Place = tuple[str, str]
"""A host and its interface."""

CLIENT: Final = ("client", "eth0")
DIRECTOR_FRONT, DIRECTOR_BACK = ("director", "front"), ("director", "back")


def explain_case(case: Case) -> Explanation:
    """Follow the case's connection, and return what was seen."""
    return _Story(case).tell()


class _Story:
    """The connection as it goes on: the director, both peers, and the journeys so far."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.protocol = PROTOCOLS[case.protocol]
        self.network = Network(case)
        self.now = 0.0
        self.balancer = Balancer(origin=Origin(SECRET))
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
        service = Service(
            ServiceKey(self.protocol, *case.virtual, family=case.version),
            case.scheduler,
            name="explained",
            mss_clamp=case.mss_clamp,
            local=LocalPool((case.local,)),
        )
        balancer.services.add(service)
        balancer.network.link_mtus = {
            network.FRONT_INDEX: network.MTU,
            network.BACK_INDEX: network.MTU,
        }
        balancer.network.tunnel_ports = frozenset(port for port in self.network.gue_ports if port)
        for each in case.servers:
            server = RealServer(
                each.address, each.port, weight=each.weight, forwarder=case.forwarder
            )
            service.add(server)
            server.set_way(network.MTU, self.network.source, is_local=False)
        return service

    # --- what happens -----------------------------------------------------------------------

    def tell(self) -> Explanation:
        """Let the connection happen, and return it."""
        for number in range(self.case.earlier):
            self._earlier(number)
        flow = Flow(*self.case.client, *self.case.virtual)
        made = weigh(self.service, flow, self.now, self._name)
        virtual = endpoint(*self.case.virtual)
        for line in conversation(self.protocol, virtual, lambda: self.real):
            if line.direction == "request":
                self._request(line)
            else:
                self._reply(line)
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
            self._handle(other.send(flags), Hook.PREROUTING, network.FRONT_INDEX)
        self.balancer.outbox.departures.clear()
        self.balancer.outbox.answers.clear()

    def _name(self, server: Server) -> str:
        name = self.case.name_of(server.address, server.port)
        return f"{name} {endpoint(server.address, server.port)}"

    # --- packets ----------------------------------------------------------------------------

    def _handle(self, packet: bytes, hook: Hook, indev: int) -> bytes | Verdict:
        return self.balancer.handle(packet, hook, 0, indev, self.now)

    def _request(self, line: Line) -> None:
        packet = self.client.send(line.flags, line.payload)
        frame = self.network.frame(packet, CLIENT, DIRECTOR_FRONT)
        hops = [Hop(*CLIENT, "sends", frame), Hop(*DIRECTOR_FRONT, "receives", frame)]
        drops = Drops(self.balancer)
        verdict = self._handle(packet, Hook.PREROUTING, network.FRONT_INDEX)
        connection = self._connection()
        if connection is not None and self.plan is None:
            self._opened(connection)
        leaving: list[tuple[bytes | None, bytes]]
        if isinstance(verdict, bytes):
            how = Exit.VERDICT
            leaving = [(None, one_hop_on(loaded(verdict)))]
        elif verdict is Verdict.TAKEN:
            how = connection.path.exit if connection else Exit.TRANSLATED
            leaving = [_of(departure) for departure in self.balancer.outbox.departures]
            self.balancer.outbox.departures.clear()
        else:
            told = drops.told() or LEFT
            self.journeys.append(Journey(line.title, line.direction, tuple(hops), told))
            self._answers()
            return
        for number, (neighbour, data) in enumerate(leaving):
            way = self._towards(data, neighbour)
            more = number < len(leaving) - 1
            title = f"the client's address, ahead of {line.title}" if more else line.title
            self._add(line._replace(title=title), [*hops, *way], sent(how), connection)

    def _answers(self) -> None:
        """Note the ICMP errors that the director sends to the client."""
        for answer in self.balancer.outbox.answers:
            packet = answer_packet(answer, self.network.front)
            frame = self.network.frame(packet, DIRECTOR_FRONT, CLIENT)
            hops = (Hop(*DIRECTOR_FRONT, "sends", frame), Hop(*CLIENT, "receives", frame))
            outcome = "The director tells the client; its kernel puts the IP header in front."
            self.journeys.append(Journey("ICMP error", "reply", hops, outcome))

    def _towards(self, data: bytes, neighbour: bytes | None) -> list[Hop]:
        """Return the hops from the director to the real server, which takes the packet in."""
        paper, place = self.network, (self.real, "eth0")
        hops = []
        if neighbour is None and paper.is_far:
            frame = paper.frame(data, DIRECTOR_BACK, ("router", "back"))
            hops.append(Hop(*DIRECTOR_BACK, "sends", frame))
            data = one_hop_on(loaded(data))
            frame = paper.frame(data, ("router", "far"), place)
            hops.append(Hop("router", "far", "passes on", frame))
        else:
            frame = paper.frame(data, DIRECTOR_BACK, place)
            hops.append(Hop(*DIRECTOR_BACK, "sends", frame))
        hops.append(Hop(*place, "receives", frame))
        if self.case.mode == "tun":
            data = unwrap(data, self.network.gue_ports) or data
            hops.append(Hop(*place, "takes it out of the tunnel", paper.inside(frame, data)))
        self.server.receive(data)
        return hops

    def _reply(self, line: Line) -> None:
        packet = self.server.send(line.flags, line.payload)
        paper, place = self.network, (self.real, "eth0")
        connection = self._connection()
        gateway = ("router", "far" if paper.is_far else "back") if paper.routed else DIRECTOR_BACK
        frame = paper.frame(packet, place, gateway)
        hops = [Hop(*place, "sends", frame)]
        if self.case.forwarder.bypasses:
            packet = one_hop_on(loaded(packet))
            frame = paper.frame(packet, ("router", "front"), CLIENT)
            hops.append(Hop("router", "front", "passes on", frame))
            how = PAST
        else:
            if paper.routed:
                packet = one_hop_on(loaded(packet))
                frame = paper.frame(packet, ("router", "back"), DIRECTOR_BACK)
                hops.append(Hop("router", "back", "passes on", frame))
            hops.append(Hop(*DIRECTOR_BACK, "receives", frame))
            packet, how = self._back(packet)
            frame = paper.frame(packet, DIRECTOR_FRONT, CLIENT)
            hops.append(Hop(*DIRECTOR_FRONT, "sends", frame))
        hops.append(Hop(*CLIENT, "receives", frame))
        self.client.receive(packet)
        self._add(line, hops, how, connection)

    def _back(self, packet: bytes) -> tuple[bytes, str]:
        """Return what the director makes of a reply, and how it sends that."""
        hook = Hook.PREROUTING
        if self.case.mode == "nat":
            hook = Hook.FORWARD
            packet = one_hop_on(loaded(packet))  # the kernel has taken it off when it asks
        verdict = self._handle(packet, hook, network.BACK_INDEX)
        if isinstance(verdict, bytes):
            return verdict, sent(Exit.VERDICT)
        departure = self.balancer.outbox.departures.pop()
        return departure.data, sent(Exit.TRANSLATED)

    # --- what is noted ----------------------------------------------------------------------

    def _connection(self) -> Connection | None:
        found = key(self.protocol, *self.case.client, *self.case.virtual)
        return self.balancer.flows.table.by_key.get(found)

    def _opened(self, connection: Connection) -> None:
        server = connection.path.server
        self.plan = connection.plan
        self.real = self.case.name_of(server.address, server.port)
        self._picked = server

    def _add(
        self, line: Line, hops: list[Hop], outcome: str, connection: Connection | None
    ) -> None:
        """Note a journey, with what changed from hop to hop."""
        told, arithmetic = trail(hops, self.plan, line.direction)
        self.journeys.append(
            Journey(
                line.title,
                line.direction,
                told,
                outcome,
                entry_of(connection, self.now) if connection else None,
                arithmetic,
            )
        )


def _of(departure: Departure) -> tuple[bytes | None, bytes]:
    return departure.neighbour, departure.data


def _after(address: bytes, number: int) -> bytes:
    """Return the address that comes so many behind another one."""
    whole = int.from_bytes(address, "big") + number
    return (whole % (1 << 8 * len(address))).to_bytes(len(address), "big")
