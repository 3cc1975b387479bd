"""What an explanation is made of: typed values that can be printed, drawn, or read by a program.

An `Explanation` follows one connection. Each of its packets is a `Journey` of `Hop`s, and each
hop is a `Frame` as it is there, with the `Change`s since the hop before and what caused them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from forwarders.plan import Plan, Step

Direction: TypeAlias = Literal["request", "reply"]
Role: TypeAlias = Literal["client", "director", "router", "server"]

INNER: Final = "inner "
"""What the names of the headers inside a tunnel begin with."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a header: ``length`` bytes at ``at``, counted from the frame's first byte.

    ``name`` is unique in its layer. ``text`` is the value as people write it. Fields that share a
    byte, such as a version and a header length, name the same one.
    """

    name: str
    text: str
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One header: ``length`` bytes at ``at``.

    ``name`` is unique in its frame: the header inside a tunnel is called "inner IPv4".
    """

    name: str
    at: int
    length: int
    fields: tuple[Field, ...]

    @property
    def base(self) -> str:
        """The name that it has outside of a tunnel."""
        return self.name.removeprefix(INNER)

    def get(self, name: str) -> Field | None:
        """Return the field of that name, None if there is none."""
        return next((field for field in self.fields if field.name == name), None)

    def text(self, name: str) -> str:
        """Return the value of the field of that name, nothing if there is none."""
        field = self.get(name)
        return field.text if field else ""

    @property
    def life(self) -> str:
        """How many hops it has left, as a header of IP says it."""
        return self.text("TTL") or self.text("hop limit")


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame, taken apart. What no layer covers is payload."""

    data: bytes
    layers: tuple[Layer, ...]

    def get(self, name: str) -> Layer | None:
        """Return the layer of that name, None if there is none."""
        return next((layer for layer in self.layers if layer.name == name), None)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a field is another; ``text`` says it to people, in a few words.

    "step": the plan says so, and ``step`` is where. "forwarding": what any router does to any
    packet. "follows": a length or a checksum that covers what was changed. "setting": a switch of
    the service. "host": what the real server or the network does.
    """

    kind: Literal["step", "forwarding", "follows", "setting", "host", "unknown"]
    text: str
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A field that is another than at the hop before.

    ``before`` None: it is new; ``after`` None: it is gone.
    """

    layer: str
    field: str
    before: str | None
    after: str | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Hop:
    """A place that a packet comes by: ``host`` ("client", "director"), its ``interface``.

    ``title`` says what happens: "sends", "receives", "passes on".
    """

    host: str
    interface: str
    title: str
    frame: Frame
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """A checksum's way from one value to another by RFC 1624, equation 3.

    ``layer`` and ``field`` are the checksum's. ``words`` are the 16-bit words that it covers and
    that changed, with what they were and are: (what, old, new). ``whole`` is the checksum computed
    anew over everything, None where no more is known than the difference.
    """

    layer: str
    field: str
    before: int
    after: int
    words: tuple[tuple[str, int, int], ...]
    whole: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """The connection's row in the table after a packet, as ``lvsadm -Lnc`` has it.

    ``expires_s`` is how long it lives without another packet. ``active`` and ``inactive`` are the
    real server's connections. ``local`` is FULLNAT's local endpoint.
    """

    protocol: str
    state: str
    expires_s: float
    client: str
    virtual: str
    real: str
    local: str | None
    active: int
    inactive: int


@dataclass(frozen=True, slots=True)
class Journey:
    """One packet's way. ``title`` is what it is: "SYN"; ``outcome`` what the director did.

    ``hops`` may end at the director, where it dropped or answered the packet. ``entry`` is the
    connection afterwards, None if there is none or nobody has asked.
    """

    title: str
    direction: Direction
    hops: tuple[Hop, ...]
    outcome: str
    entry: Entry | None = None
    sums: tuple[Sum, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A real server as the scheduler weighed it: the usable one of least ``number`` is picked.

    ``number`` None: it is not in the race; ``text`` is the arithmetic, or why not.
    """

    server: str
    weight: int
    active: int
    inactive: int
    number: float | None
    text: str
    picked: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Why this real server: the scheduler, its rule in a sentence, and who stood for election.

    In a row of picks ``goes_by`` is whose address the scheduler goes by, and ``asked`` that
    address; both are empty where it goes by none.
    """

    scheduler: str
    rule: str
    candidates: tuple[Candidate, ...]
    asked: str = ""
    goes_by: Literal["", "client", "destination"] = ""


@dataclass(frozen=True, slots=True)
class Host:
    """Somebody in the picture: its name, role, and (interface, address, MAC) per interface."""

    name: str
    role: Role
    interfaces: tuple[tuple[str, str, str], ...]


def role_of(host: str) -> Role:
    """Return what a host of this name is; real servers have a number behind theirs."""
    match host:
        case "client" | "director" | "router":
            return host
        case _:
            return "server"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One connection, followed from end to end.

    ``plan`` is None where no connection came about. ``choice`` is None where nobody was asked.
    """

    mode: str
    protocol: str
    virtual: str
    hosts: tuple[Host, ...]
    choice: Choice | None
    plan: Plan | None
    journeys: tuple[Journey, ...]

    @property
    def title(self) -> str:
        """What it is about."""
        return f"{self.mode.upper()}: a {self.protocol.upper()} connection to {self.virtual}"

    @property
    def owners(self) -> dict[str, str]:
        """The name of who has a MAC, by the MAC: of hosts that share one, who gets a packet."""
        busy = {hop.host for journey in self.journeys for hop in journey.hops}
        ordered = sorted(self.hosts, key=lambda host: host.name in busy)
        return {mac: host.name for host in ordered for _, _, mac in host.interfaces}
