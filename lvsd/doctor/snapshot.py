"""All that the checks know: plain facts, gathered once. Addresses are packed, MACs six bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forwarders.tun import Tun
from lvsd.io.guard import GUARD
from lvsd.io.ruleset import TABLE
from lvsd.packet.address import endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forwarders.plan import Encapsulate
    from lvsd.net.ways import Way

ETHERNET: Final = 1500
"""The MTU that clients may be expected to have, in bytes."""

LEAST_IPV6: Final = 1280
"""The MTU that every IPv6 link has (RFC 8200, section 5)."""

STRICT: Final = 1
"""rp_filter: the way back must lead out of the interface that a packet came in by."""


RECENT_S: Final = 60
"""What was last seen longer ago says nothing of now."""

SILENT_S: Final = 4
"""For how long new connections have to wait until their server counts as silent: two samples."""

REPEATED: Final = 3
"""Repeated SYNs, with no client answered in between, from which on it does, too."""


class Counts(NamedTuple):
    """What the daemon has counted of a real server. Connections are those that live now.

    Of the rest see `lvsd.control.protocol.EvidenceEntry`: it is about the last seconds.
    """

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    heard_ago_s: int | None = None
    waiting: int = 0
    waiting_s: int = 0
    tried_ago_s: int = 0
    refused: int = 0
    refused_ago_s: int = 0
    repeated: int = 0
    refused_port: int = 0

    def joined(self, other: Counts) -> Counts:
        """Return both as of one host: it was heard when either was."""
        any_waits = bool(self.waiting or other.waiting)
        heard = [each.heard_ago_s for each in (self, other) if each.heard_ago_s is not None]
        return Counts(
            self.connections + other.connections,
            self.in_packets + other.in_packets,
            self.out_packets + other.out_packets,
            min(heard, default=None),
            self.waiting + other.waiting,
            max(self.waiting_s, other.waiting_s),
            min(each.tried_ago_s for each in (self, other) if each.waiting or not any_waits),
            self.refused + other.refused,
            max(self.refused_ago_s, other.refused_ago_s),
            self.repeated + other.repeated,
            self.refused_port or other.refused_port,
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A real server. ``mode`` is nat, dr, tun or fullnat; ``counts`` None without a daemon.

    ``weight`` is the configured one, which a drained server keeps.
    """

    address: bytes
    port: int
    mode: str
    tunnel: Tun = field(default_factory=Tun)
    counts: Counts | None = None
    weight: int = 1
    is_drained: bool = False

    @property
    def name(self) -> str:
        """Address and port as people write them."""
        return endpoint(self.address, self.port)

    @property
    def answers(self) -> bool:
        """Whether the daemon has heard it lately, and sent it no new connection since."""
        counts = self.counts
        if counts is None or counts.heard_ago_s is None or counts.waiting:
            return False
        return counts.heard_ago_s <= RECENT_S

    @property
    def is_silent(self) -> bool:
        """Whether the daemon has sent it new connections lately, and it answers none.

        Of DR and TUN it sees no answers, only clients that ask again.
        """
        counts = self.counts
        if counts is None:
            return False
        if self.mode in {"dr", "tun"}:
            return counts.repeated >= REPEATED
        heard = counts.heard_ago_s
        waits = counts.waiting > 0 and counts.waiting_s >= SILENT_S
        lately = counts.tried_ago_s <= RECENT_S
        return waits and lately and (heard is None or heard >= counts.waiting_s)


@dataclass(frozen=True, slots=True)
class Service:
    """A virtual service. ``vip`` is empty for a firewall mark's, whose ``protocol`` is ip.

    ``local_ports`` (lowest and highest) is None where nobody has told.
    """

    name: str
    protocol: str
    vip: bytes
    port: int
    family: int
    servers: tuple[Server, ...]
    local_addresses: tuple[bytes, ...] = ()
    local_ports: tuple[int, int] | None = None
    interface: str = ""
    """Where the configuration has lvsd put the VIP; empty: nowhere, or nobody has told."""


class Chain(NamedTuple):
    """A chain of nftables that drops what no rule of it accepts."""

    family: str
    table: str
    name: str
    hook: str
    knows_untracked: bool
    """A rule in it is about packets that are not tracked, as lvsd's are."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a running daemon says of itself: packets dropped by reason, other counters by group.

    ``since`` are the groups as they were ``seconds`` before, when the doctor began to look.
    """

    drops: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    since: Mapping[str, Mapping[str, int]] | None = None
    seconds: float = 0.0

    def count(self, group: str, name: str) -> int:
        """Return a counter, 0 where this daemon has none of that name."""
        return self.groups.get(group, {}).get(name, 0)

    def lately(self, group: str, name: str) -> int:
        """Return how much of a counter came while the doctor looked; all of it if it did not."""
        before = self.since.get(group, {}).get(name, 0) if self.since is not None else 0
        return max(0, self.count(group, name) - before)

    def age(self, group: str, name: str) -> str:
        """Return when it was counted, in words."""
        if self.since is None:
            return "since it began"
        return f"since it began, {self.lately(group, name)} in the last {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Machine:
    """This host, in its network namespace."""

    addresses: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    """Address -> interfaces that have it."""
    interfaces: frozenset[str] = frozenset()
    macs: Mapping[str, bytes] = field(default_factory=dict)
    """Interface -> its own MAC, of those that have one."""
    ways: Mapping[bytes, Way | None] = field(default_factory=dict)
    """Real server -> interface and next hop; None: no route."""
    sources: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Real server -> which of our addresses reaches it; None: no route."""
    forwarding: Mapping[int, bool] = field(default_factory=dict)
    """IP version -> whether the kernel forwards; without an entry it has no such version."""
    forwarding_off: frozenset[str] = frozenset()
    """Interfaces that do not forward what they receive, over IPv4."""
    rp_filter: Mapping[str, int] = field(default_factory=dict)
    """Interface -> the value in force."""
    accept_local: frozenset[str] = frozenset()
    """Interfaces that take packets from addresses of this host."""
    rp_filter_drops: int = 0
    """Packets that rp_filter has dropped since the network namespace began."""
    client_ways: Mapping[bytes, str] = field(default_factory=dict)
    """Client of IPv4 NAT -> the interface that the way back to it leads out of, of some clients."""
    tables: tuple[str, ...] = (TABLE, GUARD)
    """The nftables tables of lvsd that stand: its own, and its guard."""
    queue_is_read: bool = True
    """Somebody takes packets off an NFQUEUE."""
    chains: tuple[Chain, ...] = ()


class Ask(NamedTuple):
    """Who has an address? ARP or neighbour discovery out of an interface, from our ``source``."""

    interface: str
    address: bytes
    source: bytes


class Echo(NamedTuple):
    """An ICMP echo request of ``size`` bytes, its IP header included, which must not be cut.

    It is routed as what this host sends; or goes in a frame to ``neighbour``, or in a ``tunnel``.
    """

    source: bytes
    destination: bytes
    size: int = 64
    neighbour: bytes | None = None
    tunnel: Encapsulate | None = None


@dataclass(frozen=True, slots=True)
class Syn:
    """A TCP SYN to a virtual endpoint, as the director sends a client's on to a real server.

    In a frame to ``neighbour``, or in a ``tunnel``. No tuple, so that it equals no `Echo`.
    """

    source: bytes
    destination: bytes
    port: int
    neighbour: bytes | None = None
    tunnel: Encapsulate | None = None


Question: TypeAlias = Echo | Syn
"""What a real server is asked by an IP packet."""


class Answer(NamedTuple):
    """What came of an echo: a reply, or an ICMP ``error`` in words, about an ``mtu`` perhaps."""

    interface: str
    mac: bytes
    error: str = ""
    mtu: int = 0


class Handshake(NamedTuple):
    """What came of a SYN: a SYN-ACK, whose sender takes ``mss`` bytes at once; or a RST.

    ``mss`` is 0 with a RST, else what the SYN-ACK says, or means where it says none.
    """

    accepted: bool
    mss: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What was heard on the wire. Who did not answer has no entry."""

    macs: Mapping[Ask, frozenset[bytes]] = field(default_factory=dict)
    echoes: Mapping[Echo, Answer] = field(default_factory=dict)
    handshakes: Mapping[Syn, Handshake] = field(default_factory=dict)
    unasked: int = 0
    """Questions that were left out, being too many."""

    def replied(self, echo: Echo | None) -> bool:
        """Tell whether an echo was answered, and not by an error."""
        answer = self.echoes.get(echo) if echo else None
        return answer is not None and not answer.error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything. ``daemon`` is None when none answers, and ``silence`` says why.

    ``config`` is the file with the configuration, as it was named; empty without one. ``faults``
    are those of the configuration, finished lines.
    """

    services: tuple[Service, ...] = ()
    daemon: Daemon | None = None
    machine: Machine = Machine()
    answers: Answers = Answers()
    faults: tuple[str, ...] = ()
    silence: str = ""
    config: str = ""

    def members(self, *modes: str) -> Iterator[tuple[Service, Server]]:
        """Yield every service with each real server that is another host; of these modes, if any.

        The director itself gets its packets without leaving it, whatever its mode.
        """
        for service in self.services:
            for server in service.servers:
                if server.address in self.machine.addresses:
                    continue
                if not modes or server.mode in modes:
                    yield service, server

    def servers(self, *modes: str) -> Iterator[Server]:
        """Yield one server for each address among `members`, with the counts of all of them."""
        found: dict[tuple[bytes, str], Server] = {}
        for _, server in self.members(*modes):
            key = server.address, server.mode
            before = found.get(key)
            if before is None:
                found[key] = server
            elif before.counts and server.counts:
                found[key] = replace(before, counts=before.counts.joined(server.counts))
        yield from found.values()

    def owner(self, mac: bytes, length: int) -> Server | None:
        """Return the real server that has a MAC; None when it is none's.

        One of DR or TUN before others, and one with an address of ``length`` bytes.
        """
        found = {ask.address for ask, macs in self.answers.macs.items() if mac in macs}
        alike = [server for _, server in self.members() if server.address in found]
        return min(
            alike,
            key=lambda each: (each.mode not in {"dr", "tun"}, len(each.address) != length),
            default=None,
        )
