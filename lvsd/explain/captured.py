"""Packets of one's own, from a capture file, through the director that a configuration makes.

Each goes where the nftables rules would send it (`diversion`): into the queue at a hook, or past
lvsd. What a capture does not tell is assumed: the MACs behind the director, the MTU of the
ways to the real servers, and the address that tunnels begin at.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from lvsd.config import fields
from lvsd.core.values import Way
from lvsd.core.verdict import Hook
from lvsd.errors import UsageError
from lvsd.explain.captures import pcap
from lvsd.explain.dissect import dissect
from lvsd.explain.diversion import belonging, concerns, hook_of
from lvsd.explain.model import Hop, Journey
from lvsd.explain.outcome import LEFT, Drops, entry_of
from lvsd.explain.passage import passage
from lvsd.explain.picks import fallen_on, weigh
from lvsd.explain.places import RECEIVES, SENDS
from lvsd.explain.trail import MAC_BYTES, framed, loaded, trail
from lvsd.packet.address import endpoint
from lvsd.packet.view import Packet, split_key
from schedulers.base import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from forwarders.plan import Plan
    from lvsd.core.balancer import Balancer
    from lvsd.explain.captures.pcap import Captured
    from lvsd.explain.model import Choice, Frame, Sum
    from lvsd.io.ruleset import Diverted
    from schedulers.base import Server

MTU: Final = 1500
INTERFACE: Final = 1

DIPS: Final = ("192.0.2.1", "2001:db8:1::1")
"""The director's addresses towards tunnels, one for each family, where nothing else is said."""

GOES_BY: Final = "No rule of lvsd's diverts it: it goes by."

_NO_MACS: Final = bytes(2 * MAC_BYTES)


@dataclass(frozen=True, slots=True)
class Seen:
    """One captured packet: its number in the file, its time in seconds, what became of it.

    ``choice`` is the scheduler's, where the packet opened a connection; ``plan`` the connection's.
    """

    number: int
    time_s: float
    journey: Journey
    choice: Choice | None = None
    plan: Plan | None = None


def explain_capture(
    capture: Path, config: Path, *, dip: str | None = None, mark: int = 0
) -> Iterator[Seen]:
    """Yield what lvsd, run with a configuration, would do with each packet of a capture file.

    It happens in the capture's own time. ``dip`` is the director's address that tunnels begin at;
    without it, and in the other family, one of `DIPS`. ``mark`` is the firewall mark of every
    packet (0: none). Raise UsageError for a wrong ``dip``, ConfigError, and InputError or DataError
    where the capture ends too early or is none.
    """
    from lvsd.assembly import assemble  # noqa: PLC0415 - only this reads a configuration
    from lvsd.config.load import load  # noqa: PLC0415 - same reason
    from lvsd.io.diverting import diverted  # noqa: PLC0415 - same reason

    sources = [*DIPS, *([dip] if dip is not None else ())]
    try:
        packed = [fields.address(source) for source in sources]
    except ValueError as error:
        raise UsageError(f"--dip: {error}") from None
    settings = load(config)
    packets = pcap.read_path(capture)
    first = next(packets, None)
    if first is None:
        return
    balancer = assemble(settings, first.time_s)
    _assume_ways(balancer, packed)
    look = _Look(balancer, diverted(balancer.services), mark)
    for number, captured in enumerate(chain([first], packets), 1):
        yield look.at(number, captured)


def _assume_ways(balancer: Balancer, sources: Iterable[bytes]) -> None:
    """Give each real server a way of `MTU` bytes, from the address (packed) of its family."""
    by_length = {len(source): source for source in sources}
    balancer.network.link_mtus = {INTERFACE: MTU}
    for service in balancer.services:
        for server in service.servers:
            server.set_way(Way(MTU, by_length[len(server.address)]))


class _Look:
    """A director that captured packets come to."""

    def __init__(self, balancer: Balancer, diverted: Diverted, mark: int) -> None:
        self._balancer = balancer
        self._diverted = diverted
        self._mark = mark
        self._now = balancer.now

    def at(self, number: int, captured: Captured) -> Seen:
        """Return what becomes of a packet."""
        self._now = max(self._now, captured.time_s)
        while self._balancer.tick(self._now):
            pass
        frame = self._frame(captured.packet, captured.frame or b"")
        came = Hop("director", "", RECEIVES, frame)
        packet = Packet()
        if packet.load(captured.packet):
            journey = Journey("packet", "request", (came,), self._no_good(captured))
            return Seen(number, captured.time_s, journey)
        hook = hook_of(packet, self._diverted, self._mark)
        if hook is None:
            journey = Journey(_title(packet), "request", (came,), GOES_BY)
            return Seen(number, captured.time_s, journey)
        return self._handled(number, captured, came, packet, hook)

    def _no_good(self, captured: Captured) -> str:
        """Return what becomes of what is no good packet."""
        data = captured.packet
        if not data:
            return "It has no IP packet: it goes by."
        if captured.cut:
            return (
                f"The capture has not all of its {captured.length} bytes, which lvsd would see: "
                "take it with tcpdump -s 0."
            )
        if not concerns(data, self._diverted, self._mark):
            return GOES_BY
        drops = Drops(self._balancer)
        self._balancer.handle(data, Hook.PREROUTING, self._mark, INTERFACE, self._now)
        return drops.told() or LEFT

    def _handled(
        self, number: int, captured: Captured, came: Hop, packet: Packet, hook: Hook
    ) -> Seen:
        """Return what the director does with a packet that reaches it."""
        known = belonging(self._balancer.flows.table.by_key, packet).connection
        made = None if known else self._weigh(packet)
        done = passage(self._balancer, packet, hook, INTERFACE, self._now, self._mark)
        plan = done.about.plan if done.about else None
        hops: list[Hop] = [came]
        arithmetic: list[Sum] = []
        for data, neighbour in done.leaving:
            macs = _macs(came.frame.data, neighbour or loaded(data).destination)
            hop = Hop("director", "", SENDS, self._frame(data, macs))
            told, more = trail((came, hop), plan, done.direction)
            hops += told[1:]
            arithmetic += more
        entry = entry_of(done.connection, self._now) if done.connection else None
        journey = Journey(
            _title(packet), done.direction, tuple(hops), done.outcome, entry, tuple(arithmetic)
        )
        picked = None
        if made and done.connection:
            picked = fallen_on(made, _name(done.connection.path.server))
        return Seen(number, captured.time_s, journey, picked, plan)

    def _weigh(self, packet: Packet) -> Choice | None:
        """Return what real servers stand for, where the packet may open a connection."""
        (source, sport), (destination, dport) = split_key(packet.key)
        protocol = packet.protocol
        service = self._balancer.services.lookup(protocol, destination, dport, self._mark)
        if service is None:
            return None
        return weigh(service, Flow(source, sport, destination, dport), self._now, _name)

    def _frame(self, packet: bytes, start: bytes) -> Frame:
        """Return a packet behind the MACs that a frame starts with, or behind none, taken apart."""
        whole = len(start) > len(_NO_MACS)
        data = start if whole else framed(start or _NO_MACS, packet)
        return dissect(data, gue_ports=self._balancer.network.tunnel_ports)


def _title(packet: Packet) -> str:
    """Return a packet's ends."""
    (source, sport), (destination, dport) = split_key(packet.key)
    return f"{endpoint(source, sport or None)} -> {endpoint(destination, dport or None)}"


def _macs(frame: bytes, neighbour: bytes) -> bytes:
    """Return the MACs of a frame that leaves: from where one came in, to one that is made up."""
    return b"\x02\x00" + neighbour[-4:] + frame[:MAC_BYTES]


def _name(server: Server) -> str:
    return endpoint(server.address, server.port)
