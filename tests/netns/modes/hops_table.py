"""What a table of hops is made of: places, and the fields that differ there.

A hop names the fields that differ from what the sender wrote. Whatever it does not name must be as
the sender wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lvsd.lab.build import mac
from tests.netns.modes.hops import Place
from tests.netns.traffic.site import of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvsd.lab import Lab
    from lvsd.lab.plan import Network
    from tests.netns.modes.hops import Fields
    from tests.netns.modes.hops_talk import Case
    from tests.netns.traffic.site import Family

Changes: TypeAlias = dict[str, Any]
"""A field's new value, or a function that makes it of the old one."""

SYN, HANDSHAKE, DATA, FIN, ACK = "SYN", "handshake", "data", "FIN", "ACK"
EARLY, LATER = "early datagram", "later datagram"
"""The kinds of packet that a mode may treat each in its own way."""

UOA_DATAGRAMS: Final = 3


@dataclass(frozen=True)
class Hop:
    """A place, and what is other there; ``of_kind`` for packets of some kinds only."""

    place: Place
    changes: Changes = field(default_factory=dict)
    of_kind: dict[str, Changes] = field(default_factory=dict)

    def expected(self, sent: Fields, kind: str) -> Fields:
        """Return the packet that the sender's must have become."""
        changed = dict(sent)
        for name, change in (*self.changes.items(), *self.of_kind.get(kind, {}).items()):
            changed[name] = change(changed[name]) if callable(change) else change
        return changed


@dataclass(frozen=True)
class Table:
    """The hops of both directions; the first of each is the sender itself."""

    request: tuple[Hop, ...]
    reply: tuple[Hop, ...]


@dataclass(frozen=True)
class Talk:
    """One conversation: its case, and what both ends could not know before.

    ``client`` is the client's end; FULLNAT's ``local`` end and ``shift``, what is added to the
    client's sequence numbers, are None and 0 in other modes.
    """

    lab: Lab
    case: Case
    family: Family
    protocol: str
    client: tuple[str, int]
    local: tuple[str, int] | None = None
    shift: int = 0

    @property
    def virtual(self) -> tuple[str, int]:
        """The virtual end."""
        return of(self.lab.vip, self.family), self.case.vport

    @property
    def real(self) -> tuple[str, int]:
        """The real server's end."""
        return self.case.rip(self.lab, self.family), self.case.rport

    def frame(self, network: Network, sender: str, receiver: str) -> Changes:
        """Return the Ethernet header of a frame within a network; ``server`` is the case's."""
        server = self.case.server(self.lab).host
        macs = {node.name: mac(link) for node, link in self.lab.topology.members(network)}
        ends = [macs[server if name == "server" else name] for name in (sender, receiver)]
        return {"from_mac": ends[0], "to_mac": ends[1]}

    def place(self, host: str, interface: str = "eth0") -> Place:
        """Return a place; ``server`` is the case's."""
        return Place(self.case.server(self.lab).host if host == "server" else host, interface)


def less(number: int) -> Callable[[int], int]:
    """Lower a field."""
    return lambda value: value - number


def moved(number: int) -> Callable[[int], int]:
    """Move a sequence number."""
    return lambda value: (value + number) % 2**32


def source(end: tuple[str, int]) -> Changes:
    """Return a source."""
    return {"source": end[0], "source_port": end[1]}


def destination(end: tuple[str, int]) -> Changes:
    """Return a destination."""
    return {"destination": end[0], "destination_port": end[1]}


def kind(number: int, packet: Fields) -> str:
    """Return what kind of packet this is: the sender's, with its number in its direction."""
    flags = packet.get("flags")
    if flags is None:
        return EARLY if number < UOA_DATAGRAMS else LATER
    if "S" in flags:
        return SYN
    if number == 1:
        return HANDSHAKE
    if "F" in flags:
        return FIN
    return DATA if packet["payload"] else ACK
