"""Scenarios: what an operator, clients and real servers do to a director, and what comes of it.

A scenario is a list of operations that kernel IPVS and lvsd both carry out. Each leaves an
observation: when it was, and what was seen. Nothing here knows who carries it out; the kernel's
side runs inside another kernel, so everything can be pickled and little is imported.

Addresses are text and protocols numbers. Packets are bytes, from the IP header on.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

TCP, UDP, SCTP = 6, 17, 132

Verb: TypeAlias = Literal["add", "edit", "remove"]


class Side(Enum):
    """Where a packet comes from, or leaves to: one of the director's two networks."""

    CLIENT = "client"
    SERVER = "server"


# --- what is set up -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A virtual service: by address, protocol and port, or by firewall mark and IP version.

    ``flags`` are the scheduler's as typed after ``-b``; ``prefix`` the length of the netmask of
    persistence, None for the whole address.
    """

    address: str | None = None
    port: int = 0
    protocol: int = TCP
    fwmark: int = 0
    version: int = 4
    scheduler: str = "wlc"
    flags: frozenset[str] = frozenset()
    persistence_s: int = 0
    prefix: int | None = None
    one_packet: bool = False


@dataclass(frozen=True, slots=True)
class RealServer:
    """A real server of a service; ``forward`` is nat, dr or tun."""

    address: str
    port: int = 0
    forward: str = "nat"
    weight: int = 1
    upper: int = 0
    lower: int = 0
    tunnel: Literal["ipip", "gue", "gre"] = "ipip"
    tunnel_port: int = 0
    tunnel_checksum: bool = False


# --- operations -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A service is added, edited or removed (``ipvsadm -A -E -D``), or a server (``-a -e -d``)."""

    verb: Verb
    service: VirtualService
    server: RealServer | None = None


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A switch of IPVS's, by its name below net.ipv4.vs; back at its default afterwards."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``ipvsadm --set``; 0 leaves one as it is."""

    tcp_s: int
    tcp_fin_s: int
    udp_s: int


@dataclass(frozen=True, slots=True)
class Mtu:
    """Another MTU for one of the director's two interfaces; 1500 again afterwards."""

    side: Side
    mtu: int


@dataclass(frozen=True, slots=True)
class Send:
    """A packet comes to the director, with a firewall mark."""

    side: Side
    data: bytes
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Time goes by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Look:
    """The operator looks at all services, servers and connections."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The operator types ``ipvsadm``, or ``lvsadm``, with these arguments."""

    arguments: str


@dataclass(frozen=True, slots=True)
class Typed:
    """The operator types ``ipvsadm``, or ``lvsadm``, with these words, with a text as its input."""

    words: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        return shlex.join(self.words) + (f" <<< {self.text!r}" if self.text else "")


Operation: TypeAlias = Change | Sysctl | Timeouts | Mtu | Send | Wait | Look | Listing | Typed


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story with a name that says which one, seed included."""

    name: str
    operations: tuple[Operation, ...]


# --- observations ---------------------------------------------------------------------------


class Seen(NamedTuple):
    """A packet that left: to which side, to whose MAC, and its bytes from the IP header on."""

    side: Side
    mac: bytes
    data: bytes


class Entry(NamedTuple):
    """A connection or a template as /proc/net/ip_vs_conn has it; ``vip`` may be a mark's."""

    protocol: int
    client: str
    cport: int
    vip: str
    vport: int
    rip: str
    rport: int
    state: str
    expires_s: float


class Counts(NamedTuple):
    """What a listing says of a real server of a service: weight, connections, templates."""

    service: str
    address: str
    port: int
    weight: int
    active: int
    inactive: int
    templates: int


class Sight(NamedTuple):
    """What a look sees; the order is the service's list of servers, and sorted for the rest."""

    entries: tuple[Entry, ...]
    counts: tuple[Counts, ...]


class Answered(NamedTuple):
    """What a program that was typed ended with, and what it said where."""

    status: int
    output: str
    errors: str


class Observation(NamedTuple):
    """When an operation was done, in seconds, and what was seen.

    That is a `Sight` of a look, the packets that left after one was sent, and of a change its
    refusal, or nothing; of a listing what was printed, of a program that was typed its answer.
    """

    at_s: float
    seen: Sight | tuple[Seen, ...] | Answered | str | None


def label(service: VirtualService) -> str:
    """Return a short name for a service, the same on both sides."""
    if service.fwmark:
        return f"fwmark {service.fwmark} ipv{service.version}"
    return f"{service.protocol} {service.address} {service.port}"
