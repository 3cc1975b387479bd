"""Conversations of one client with one real server, packet by packet, a look after each.

Written ones are those of tests/golden/core, where what comes of them in NAT mode stands beside
each packet. Random ones have everything in them that a packet's flags or chunks can be, from
either end, and pauses in which the connection may time out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernel import packets
from tests.kernel.histories import REUSED_S
from tests.kernel.rig import server_address
from tests.kernel.scenario import (
    SCTP,
    TCP,
    UDP,
    Change,
    Look,
    Operation,
    RealServer,
    Scenario,
    Send,
    Side,
    VirtualService,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[1] / "golden" / "core"
PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
CHUNKS = {
    "DATA": 0, "INIT": 1, "INIT_ACK": 2, "SACK": 3, "HEARTBEAT": 4, "HEARTBEAT_ACK": 5, "ABORT": 6,
    "SHUTDOWN": 7, "SHUTDOWN_ACK": 8, "ERROR": 9, "COOKIE_ECHO": 10, "COOKIE_ACK": 11, "ECNE": 12,
    "CWR": 13, "SHUTDOWN_COMPLETE": 14, "AUTH": 15, "ASCONF_ACK": 128, "FORWARD_TSN": 192,
}  # fmt: skip
USUAL = {
    "tcp": ("S", "SA", "A", "A", "PA", "FA", "FA", "R", "RA"),
    "sctp": tuple(CHUNKS),
    "udp": ("",),
}
"""What is more frequent in random conversations than chance would have it."""

PAUSES_S = 1.5, 5.5, 12.5, 35.5, 65.5, 125.5
"""None ends within a second after a timeout, when lvsd's entry may still be there."""
PACKETS = 24
PAUSE_S = 0.5
"""Between the packets of written conversations, as their table has it."""


@dataclass(frozen=True)
class Line:
    """A line of a written conversation: who sends what, and what holds after it."""

    who: str
    what: str
    after: str


@dataclass(frozen=True)
class Written:
    """A written conversation: its protocol, its name, its lines."""

    protocol: str
    name: str
    lines: tuple[Line, ...]


def written(protocol: str) -> list[Written]:
    """Return the written conversations of a protocol, as tests/golden/core has them."""
    sections = (GOLDEN / f"{protocol}.txt").read_text("utf-8").split("\n== ")[1:]
    found = []
    for section in sections:
        name, *lines = section.splitlines()
        words = [line.split() for line in lines if line]
        parsed = tuple(Line(who, what, " ".join(after)) for who, what, *after in words)
        found.append(Written(protocol, name, parsed))
    return found


class Pair:
    """A client and the one real server of a service, which is reached in one of three modes."""

    def __init__(self, protocol: str, forward: str, version: int, number: int) -> None:
        self.protocol, self.forward = protocol, forward
        self.client = "203.0.113.7" if version == 4 else "2001:db8:c::7"
        self.vip = "192.0.2.1" if version == 4 else "2001:db8:f::1"
        self.rip = server_address(1, version)
        self.vport = 10000 + number
        self.rport = 8080 if forward == "nat" else self.vport
        self.cport = 40000
        self.service = VirtualService(self.vip, self.vport, PROTOCOLS[protocol], scheduler="rr")
        self.begin: tuple[Operation, ...] = (
            Change("add", self.service),
            Change("add", self.service, RealServer(self.rip, self.rport, forward)),
        )

    def send(self, who: str, what: str) -> Iterator[Operation]:
        """Yield the operation of the client (C) or the server (S) sending flags, or chunks."""
        if who == "C":
            ends = self.client, self.cport, self.vip, self.vport
            yield Send(Side.CLIENT, self._packet(ends, what))
        else:
            ends = self.rip, self.rport, self.client, self.cport
            yield Send(Side.SERVER, self._packet(ends, what))

    def _packet(self, ends: tuple[str, int, str, int], what: str) -> bytes:
        if self.protocol == "tcp":
            return packets.tcp(*ends, what)
        if self.protocol == "udp":
            return packets.udp(*ends)
        chunks = (packets.chunk(CHUNKS[name], bytes(16)) for name in what.split("+") if name)
        return packets.sctp(*ends, b"".join(chunks))


def from_table(conversation: Written, forward: str, version: int, number: int) -> Scenario:
    """Return a written conversation; where replies bypass the director, without them."""
    pair = Pair(conversation.protocol, forward, version, number)
    operations = list(pair.begin)
    for line in conversation.lines:
        operations.append(Wait(PAUSE_S))
        if line.who == "C" or forward == "nat":
            operations += pair.send(line.who, line.what.replace("-", ""))
        # What a new connection takes the place of ends with the next tick of the clock.
        operations += [Wait(REUSED_S), Look()]
    name = f"{conversation.protocol}, {forward}, IPv{version}: {conversation.name}"
    return Scenario(name, tuple(operations))


def at_random(protocol: str, forward: str, seed: int, number: int) -> Scenario:
    """Return a random conversation; the same for the same protocol, mode and seed."""
    chance = random.Random(f"{protocol} {forward} {seed}")
    pair = Pair(protocol, forward, chance.choice((4, 4, 6)), number)
    operations = list(pair.begin)
    for _ in range(PACKETS):
        if chance.random() < 0.15:
            operations.append(Wait(chance.choice(PAUSES_S)))
            who = "C"  # whose packets always move the timer on
        else:
            who = "S" if forward == "nat" and chance.random() < 0.45 else "C"
        operations += pair.send(who, _anything(chance, protocol))
        operations += [Wait(REUSED_S), Look()]
    return Scenario(f"{protocol}, {forward}, seed {seed}", tuple(operations))


def _anything(chance: random.Random, protocol: str) -> str:
    """Return flags or chunks, mostly such as conversations are made of."""
    if protocol == "tcp" and chance.random() < 0.2:
        return "".join(letter for letter in packets.FLAGS if chance.random() < 0.4)
    if protocol == "sctp" and chance.random() < 0.2:
        return "+".join(chance.choices(USUAL["sctp"], k=2))
    return chance.choice(USUAL[protocol])


MODES = "nat", "dr", "tun"


def all_written() -> list[tuple[Written, str, int]]:
    """Return every written conversation, with every mode and version to have it in."""
    return [
        (conversation, forward, version)
        for protocol in PROTOCOLS
        for conversation in written(protocol)
        for forward in MODES
        for version in (4, 6)
    ]
